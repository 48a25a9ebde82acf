//! Servers for a test run: containers where a Docker engine answers, else private instances; in
//! either case gone with their data when the run ends.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use anyhow::Context as _;
use testcontainers_modules::{
    postgres::Postgres,
    rabbitmq::RabbitMq,
    testcontainers::{ContainerAsync, ImageExt as _, core::Mount, runners::AsyncRunner as _},
};
use uuid::Uuid;

use crate::{
    docker, paths,
    servers::Servers,
    state::{OWNER, State},
    supervisor::Supervisor,
    up::told_to_stop,
};

const STOPPED: &str = "stopped before the end";

/// Running servers that belong to a test run.
pub struct TestServers {
    /// How to reach them.
    pub servers: Servers,
    /// Whatever else is to end with them.
    pub keeper: Arc<Supervisor>,
    folder: PathBuf,
    containers: Option<(ContainerAsync<Postgres>, ContainerAsync<RabbitMq>)>,
}

impl TestServers {
    /// Starts them, with their files in a new folder under `target/`, for as long as `run` takes or
    /// until SIGINT or SIGTERM; and stops them then, with all that `keeper` was given meanwhile.
    ///
    /// # Errors
    /// None can be started, `run` has failed, or a signal came.
    pub async fn during<T>(run: impl AsyncFnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let keeper = Arc::new(Supervisor::default());
        let mut stopped = pin!(told_to_stop()?);
        let result = tokio::select! {
            started = Self::start(keeper.clone()) => started,
            () = &mut stopped => Err(anyhow::anyhow!(STOPPED)),
        };
        let servers = match result {
            Ok(servers) => servers,
            Err(error) => {
                keeper.stop().await;
                return Err(error);
            }
        };
        let result = tokio::select! {
            result = run(&servers) => result,
            () = stopped => Err(anyhow::anyhow!(STOPPED)),
        };
        servers.stop().await;
        result
    }

    async fn start(keeper: Arc<Supervisor>) -> anyhow::Result<Self> {
        let folder = paths::repository()
            .join("target/test-servers")
            .join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir_all(folder.join("logs"))?;
        let mut state = State::open(&folder)?;
        if docker::answers().await && docker::has_images().await {
            return Self::contained(folder, &state, keeper).await;
        }
        Ok(Self {
            servers: Servers::start_private(&folder, &mut state, &keeper).await?,
            folder,
            keeper,
            containers: None,
        })
    }

    async fn contained(
        folder: PathBuf,
        state: &State,
        keeper: Arc<Supervisor>,
    ) -> anyhow::Result<Self> {
        let (database_password, broker_password) =
            (&state.database_password, &state.broker_password);
        let data = folder.join("data");
        let mount = |name: &str, inside: &str| -> anyhow::Result<Mount> {
            let outside = data.join(name);
            std::fs::create_dir_all(&outside)?;
            Ok(Mount::bind_mount(outside.display().to_string(), inside))
        };
        let postgres = Postgres::default()
            .with_user(OWNER)
            .with_db_name("postgres")
            .with_password(database_password)
            .with_tag(docker::POSTGRES.1)
            .with_cmd(["postgres", "-c", "max_connections=200"])
            .with_mount(mount("postgres", "/var/lib/postgresql/data")?)
            .start()
            .await
            .context("the container of Postgres")?;
        let rabbitmq = RabbitMq::default()
            .with_tag(docker::RABBITMQ.1)
            .with_env_var("RABBITMQ_DEFAULT_USER", OWNER)
            .with_env_var("RABBITMQ_DEFAULT_PASS", broker_password)
            .with_mount(mount("rabbitmq", "/var/lib/rabbitmq")?)
            .start()
            .await
            .context("the container of RabbitMQ")?;
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
            folder,
            keeper,
            containers: Some((postgres, rabbitmq)),
        })
    }

    /// The environment of the tests.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        vec![
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

    /// Stops the servers and deletes their files.
    async fn stop(self) {
        self.keeper.stop().await;
        if let Some((postgres, rabbitmq)) = self.containers {
            let _ = postgres.rm().await;
            let _ = rabbitmq.rm().await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
