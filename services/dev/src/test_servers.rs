//! Servers for one run of the tests or of the benchmark: containers if a Docker engine is available,
//! else private native instances. The servers and their data are removed when the run ends.

use std::{
    fs,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use testcontainers_modules::{
    postgres::Postgres,
    rabbitmq::RabbitMq,
    testcontainers::{ContainerAsync, ImageExt as _, core::Mount, runners::AsyncRunner as _},
};

use crate::{
    docker, orphans,
    run_folder::{self, RunFolder},
    servers::{SOURCE_VARIABLE, Servers, Source},
    signals::stop_signal,
    state::{OWNER, State},
    supervisor::Supervisor,
};

const STOPPED: &str = "stopped by a signal";

/// Running servers that belong to one run.
pub struct TestServers {
    /// How to reach them.
    pub servers: Servers,
    /// Stops the servers at the end of the run, and every other program that it was given.
    pub supervisor: Arc<Supervisor>,
    folder: PathBuf,
    containers: Option<(ContainerAsync<Postgres>, ContainerAsync<RabbitMq>)>,
}

impl TestServers {
    /// Starts the servers, with their files in a new folder under `target/`, and runs `run`. Without a source,
    /// containers are started if a Docker engine is available. When it
    /// ends or a stop signal comes, stops everything that the supervisor runs. If this process is
    /// killed, the next call stops what it left running.
    ///
    /// # Errors
    /// The servers don't start, `run` fails, or a stop signal came.
    pub async fn during<T>(
        source: Option<Source>,
        run: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut stopped = pin!(stop_signal()?);
        let supervisor = Arc::new(Supervisor::default());
        let mut folder = RunFolder::create("servers", &supervisor)?;
        let started = tokio::select! {
            started = Self::start(source, folder.path(), supervisor.clone()) => started,
            () = &mut stopped => Err(anyhow!(STOPPED)),
        };
        let result = match started {
            Ok(servers) => {
                let result = tokio::select! {
                    result = run(&servers) => result,
                    () = &mut stopped => Err(anyhow!(STOPPED)),
                };
                folder.keep_pids().await;
                servers.stop().await;
                result
            }
            Err(error) => Err(error),
        };
        folder.keep_pids().await;
        supervisor.stop().await;
        folder.delete().await;
        // A fault test has servers of its own. A stop signal killed it before it stopped them.
        run_folder::stop_orphans();
        result
    }

    async fn start(
        source: Option<Source>,
        folder: &Path,
        supervisor: Arc<Supervisor>,
    ) -> anyhow::Result<Self> {
        let mut state = State::open(folder)?;
        if Source::is_docker(source).await? {
            return Self::contained(folder, &state, supervisor).await;
        }
        let source = Some(Source::Installed);
        Ok(Self {
            servers: Servers::start_private(source, folder, &mut state, &supervisor).await?,
            folder: folder.to_owned(),
            supervisor,
            containers: None,
        })
    }

    async fn contained(
        folder: &Path,
        state: &State,
        supervisor: Arc<Supervisor>,
    ) -> anyhow::Result<Self> {
        let (database_password, broker_password) =
            (&state.database_password, &state.broker_password);
        let names = ["test-postgres", "test-rabbitmq"].map(docker::container_name);
        orphans::remember_containers(folder, &names)?;
        let [postgres_name, rabbitmq_name] = names;
        let data = folder.join("data");
        let mount = |name: &str, inside: &str| -> anyhow::Result<Mount> {
            let outside = data.join(name);
            fs::create_dir_all(&outside)?;
            Ok(Mount::bind_mount(outside.display().to_string(), inside))
        };
        let postgres = Postgres::default()
            .with_user(OWNER)
            .with_db_name("postgres")
            .with_password(database_password)
            .with_tag(docker::POSTGRES.1)
            .with_container_name(postgres_name)
            .with_cmd(["postgres", "-c", "max_connections=200"])
            .with_mount(mount("postgres", "/var/lib/postgresql/data")?)
            .start()
            .await
            .context("starting the Postgres container")?;
        let rabbitmq = RabbitMq::default()
            .with_tag(docker::RABBITMQ.1)
            .with_container_name(rabbitmq_name)
            .with_env_var("RABBITMQ_DEFAULT_USER", OWNER)
            .with_env_var("RABBITMQ_DEFAULT_PASS", broker_password)
            .with_mount(mount("rabbitmq", "/var/lib/rabbitmq")?)
            .start()
            .await
            .context("starting the RabbitMQ container")?;
        let postgres_port = postgres.get_host_port_ipv4(5432).await?;
        let amqp = rabbitmq.get_host_port_ipv4(5672).await?;
        let management = rabbitmq.get_host_port_ipv4(15672).await?;
        let servers = Servers::contained(
            format!("postgres://{OWNER}:{database_password}@127.0.0.1:{postgres_port}/postgres"),
            format!("amqp://{OWNER}:{broker_password}@127.0.0.1:{amqp}/%2f"),
            format!("http://{OWNER}:{broker_password}@127.0.0.1:{management}"),
            data,
        );
        servers.wait().await?;
        Ok(Self {
            servers,
            folder: folder.to_owned(),
            supervisor,
            containers: Some((postgres, rabbitmq)),
        })
    }

    /// The environment variables that the tests read.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let source = if self.containers.is_some() {
            Source::Docker
        } else {
            Source::Installed
        };
        vec![
            (SOURCE_VARIABLE, source.name().to_owned()),
            ("TEST_DATABASE_URL", self.servers.database_url.clone()),
            ("TEST_AMQP_URL", self.servers.amqp_url.clone()),
            (
                "TEST_MANAGEMENT_URL",
                self.servers.management_url.clone().unwrap_or_default(),
            ),
            (
                "TEST_DATA_DIR",
                self.servers.data.as_deref().map(path).unwrap_or_default(),
            ),
            ("TEST_LOG_DIR", path(&self.folder.join("logs"))),
        ]
    }

    /// Stops the programs, then removes the containers.
    async fn stop(self) {
        self.supervisor.stop().await;
        if let Some((postgres, rabbitmq)) = self.containers {
            let _ = postgres.rm().await;
            let _ = rabbitmq.rm().await;
        }
    }
}
