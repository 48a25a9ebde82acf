//! The images and `docker-compose.yml`, as they stand.

use std::time::Duration;

use anyhow::Context as _;
use dev::paths::{self, free_port};
use serde_json::Value;
use tests::{
    api::{Api, SPACE, sample},
    external_clients::output,
};
use tokio::{process::Command, time::sleep};
use uuid::Uuid;

/// Services that say themselves how they are.
const SERVICES: [&str; 4] = ["postgres", "rabbitmq", "worker", "gateway"];
/// A cold build of the images, or nearly nothing of it.
const PATIENCE: Duration = Duration::from_mins(20);
const LARGEST_IMAGE_BYTES: u64 = 100 * 1024 * 1024;

/// A project of its own, on ports of its own.
struct Compose {
    project: String,
    ports: Vec<(&'static str, u16)>,
    /// `docker compose`, or what came before it.
    plugin: bool,
}

impl Compose {
    async fn new() -> anyhow::Result<Self> {
        let mut version = Command::new("docker");
        version.args(["compose", "version"]);
        let mut ports = Vec::new();
        for name in [
            "POSTGRES_PORT",
            "AMQP_PORT",
            "MANAGEMENT_PORT",
            "WORKER_PORT",
            "GATEWAY_PORT",
            "METRICS_PORT",
        ] {
            ports.push((name, free_port(None)?));
        }
        Ok(Self {
            project: format!("test{}", Uuid::new_v4().simple()),
            ports,
            plugin: output(version).await.is_ok(),
        })
    }

    fn port(&self, wanted: &str) -> anyhow::Result<u16> {
        let mut ports = self.ports.iter();
        let found = ports.find(|(name, _)| *name == wanted);
        found.map(|(_, port)| *port).context("no such port")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = if self.plugin {
            let mut docker = Command::new("docker");
            docker.arg("compose");
            docker
        } else {
            Command::new("docker-compose")
        };
        command
            .args(["--project-name", &self.project])
            .args(arguments)
            .current_dir(paths::repository())
            .envs(
                self.ports
                    .iter()
                    .map(|(name, port)| (*name, port.to_string())),
            )
            // Older versions need a flag.
            .envs([("DOCKER_BUILDKIT", "1"), ("COMPOSE_DOCKER_CLI_BUILD", "1")]);
        command
    }

    async fn inspect(&self, service: &str) -> anyhow::Result<Value> {
        let id = output(self.command(&["ps", "-q", service])).await?;
        let mut docker = Command::new("docker");
        docker.args(["inspect", id.trim()]);
        let mut found: Value = serde_json::from_str(&output(docker).await?)?;
        Ok(found[0].take())
    }

    /// Waits like `--wait`, which not every version has.
    async fn healthy(&self) -> anyhow::Result<()> {
        for service in SERVICES {
            let mut health = Value::Null;
            for _ in 0..120 {
                health = self.inspect(service).await?["State"]["Health"]["Status"].take();
                if health == "healthy" {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            assert_eq!(health, "healthy", "{service}");
        }
        Ok(())
    }
}

async fn is_shipped(compose: &Compose) -> anyhow::Result<()> {
    output(compose.command(&["up", "--build", "-d"])).await?;
    compose.healthy().await?;
    let token = output(compose.command(&["run", "--rm", "token"])).await?;
    let token = token.lines().last().context("no token")?.trim().to_owned();
    let url = format!("http://127.0.0.1:{}", compose.port("GATEWAY_PORT")?);
    let api = Api::new(&url, SPACE)?.with("authorization", format!("Bearer {token}"));

    let saved = api.save(&sample()).await?.record()?;
    let found = api.find(&sample()).await?.record()?;
    assert_eq!(saved["revision"], 1);
    assert_eq!(saved, found);
    let metrics = format!("http://127.0.0.1:{}/metrics", compose.port("METRICS_PORT")?);
    let scrape = reqwest::get(metrics).await?.text().await?;
    assert!(scrape.contains("connector_details_requests_total"));

    for service in ["gateway", "worker"] {
        let container = compose.inspect(service).await?;
        assert_eq!(container["HostConfig"]["ReadonlyRootfs"], true);
        assert_eq!(container["Config"]["User"], "65534:65534");
        let mut docker = Command::new("docker");
        docker.args(["image", "inspect", "--format", "{{.Size}}"]);
        docker.arg(container["Image"].as_str().unwrap_or_default());
        let bytes: u64 = output(docker).await?.trim().parse()?;
        eprintln!("the image of the {service} has {} MB", bytes / 1_000_000);
        assert!(bytes < LARGEST_IMAGE_BYTES, "{service}: {bytes} bytes");
    }
    // Its data outlives the containers.
    output(compose.command(&["down"])).await?;
    output(compose.command(&["up", "-d"])).await?;
    compose.healthy().await?;
    assert_eq!(api.find(&sample()).await?.record()?, found);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a Docker engine: cargo dev test --all"]
async fn the_stack_in_containers_saves_and_reads_the_sample() -> anyhow::Result<()> {
    let compose = Compose::new().await?;
    let result = tokio::time::timeout(PATIENCE, is_shipped(&compose)).await;
    if !matches!(result, Ok(Ok(()))) {
        let logs = output(compose.command(&["logs", "--tail", "20"])).await;
        eprintln!("{}", logs.unwrap_or_default());
    }
    output(compose.command(&["down", "--volumes"])).await?;
    result?
}
