//! Postgres and RabbitMQ as containers. Each has an attached `docker run`, which ends with it.

use std::{path::Path, time::Duration};

use tokio::{process::Command, time::timeout};
use uuid::Uuid;

use crate::{
    container::quiet,
    state::OWNER,
    supervisor::{Program, Stop},
};

/// The image and tag of Postgres, as in `docker-compose.yml`.
pub const POSTGRES: (&str, &str) = ("postgres", "17");
/// The image and tag of RabbitMQ, with the management plugin.
pub const RABBITMQ: (&str, &str) = ("rabbitmq", "4-management");

const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a Docker engine is available.
pub async fn answers() -> bool {
    let version = quiet(&["version", "--format", "{{.Server.Version}}"]);
    matches!(timeout(ENGINE_TIMEOUT, version).await, Ok(true))
}

/// Whether both images are present. Missing ones are pulled.
pub async fn has_images() -> bool {
    for (name, tag) in [POSTGRES, RABBITMQ] {
        let image = format!("{name}:{tag}");
        if !quiet(&["image", "inspect", &image]).await {
            eprintln!("pulling the image {image}");
            if !quiet(&["pull", "--quiet", &image]).await {
                eprintln!("the image {image} can't be pulled");
                return false;
            }
        }
    }
    true
}

/// A name for a container, which no other run uses.
#[must_use]
pub fn container_name(server: &str) -> String {
    format!("connector-details-{server}-{}", Uuid::new_v4().simple())
}

/// Postgres with its data in `folder`, as a container of this name.
#[must_use]
pub fn postgres(name: String, folder: &Path, log: &Path, port: u16, password: &str) -> Program {
    let arguments = vec![
        format!("--publish=127.0.0.1:{port}:5432"),
        format!(
            "--volume={}:/var/lib/postgresql/data",
            folder.join("postgres").display()
        ),
        format!("--env=POSTGRES_USER={OWNER}"),
        "--env=POSTGRES_DB=postgres".to_owned(),
        "--env=POSTGRES_PASSWORD".to_owned(),
    ];
    program(
        "Postgres",
        name,
        arguments,
        POSTGRES,
        ("POSTGRES_PASSWORD", password),
        log,
    )
}

/// RabbitMQ with its data in `folder`, as a container of this name.
#[must_use]
pub fn rabbitmq(
    name: String,
    folder: &Path,
    log: &Path,
    ports: (u16, u16),
    password: &str,
) -> Program {
    let (amqp, management) = ports;
    let arguments = vec![
        format!("--publish=127.0.0.1:{amqp}:5672"),
        format!("--publish=127.0.0.1:{management}:15672"),
        format!(
            "--volume={}:/var/lib/rabbitmq",
            folder.join("rabbitmq").display()
        ),
        // RabbitMQ names its data folder after the node, and the node after the host.
        "--hostname=dev".to_owned(),
        format!("--env=RABBITMQ_DEFAULT_USER={OWNER}"),
        "--env=RABBITMQ_DEFAULT_PASS".to_owned(),
    ];
    program(
        "RabbitMQ",
        name,
        arguments,
        RABBITMQ,
        ("RABBITMQ_DEFAULT_PASS", password),
        log,
    )
}

fn program(
    title: &str,
    container: String,
    arguments: Vec<String>,
    (image, tag): (&str, &str),
    (variable, password): (&'static str, &str),
    log: &Path,
) -> Program {
    let image = format!("{image}:{tag}");
    let password = password.to_owned();
    let name = container.clone();
    Program {
        name: title.to_owned(),
        command: Box::new(move || {
            // A container that was killed may not be removed yet.
            let script =
                format!("docker rm --force {name} >/dev/null 2>&1; exec docker run \"$@\"");
            let mut command = Command::new("sh");
            command
                .args(["-c", &script, "sh", "--rm", "--init", "--name", &name])
                .args(&arguments)
                .arg(&image)
                // The password is passed in the environment: every user can read a command line.
                .env(variable, &password);
            command
        }),
        log: log.to_owned(),
        pid_file: None,
        stop: Stop::Container(container),
    }
}

/// The arguments of `docker` that run `rabbitmqctl` in the container of [`rabbitmq`].
#[must_use]
pub fn rabbitmqctl(container: &str) -> Vec<String> {
    ["exec", "--user", "rabbitmq", container, "rabbitmqctl"]
        .map(ToOwned::to_owned)
        .into()
}
