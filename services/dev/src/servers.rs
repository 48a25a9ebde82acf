//! Postgres and RabbitMQ, wherever they come from: the environment, Docker, this machine, apt.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    docker, install,
    native_servers::{BrokerPorts, NativeServers},
    paths::free_port,
    state::{OWNER, State},
    supervisor::{Supervised, Supervisor},
};

/// A cold RabbitMQ on a busy machine takes its time.
const READY_DEADLINE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// Running servers, and how to reach them.
pub struct Servers {
    /// The owner's way to Postgres.
    pub database_url: String,
    /// The administrator's way to RabbitMQ.
    pub amqp_url: String,
    /// RabbitMQ's management API, with the administrator's password; none of a foreign broker.
    pub management_url: Option<String>,
    /// The folder with all of their files; none of foreign servers.
    pub data: Option<PathBuf>,
    /// What was started. Empty where the servers are foreign.
    pub kept: Vec<Supervised>,
    /// `rabbitmqctl`, as program, arguments and variables; none of a foreign broker.
    ctl: Option<Ctl>,
}

#[derive(Debug, Clone)]
struct Ctl {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

/// Where servers may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Docker,
    NativeServers,
}

impl Servers {
    /// Finds or starts the servers. Data and logs of what is started lie in `folder`.
    ///
    /// # Errors
    /// There are none, and none can be installed: the error says what to do. Or they don't start.
    pub async fn start(
        folder: &Path,
        state: &mut State,
        keeper: &Supervisor,
    ) -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let servers = match (variable("DATABASE_URL"), variable("AMQP_URL")) {
            (Some(database_url), Some(amqp_url)) => {
                eprintln!("using the servers of DATABASE_URL and AMQP_URL");
                Self {
                    database_url,
                    amqp_url,
                    management_url: None,
                    data: None,
                    kept: Vec::new(),
                    ctl: None,
                }
            }
            (None, None) => Self::own(folder, state, keeper).await?,
            _ => anyhow::bail!("DATABASE_URL and AMQP_URL go together: set both, or neither"),
        };
        servers.wait().await?;
        Ok(servers)
    }

    /// Starts private servers, and waits until they answer.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub async fn start_private(
        folder: &Path,
        state: &mut State,
        keeper: &Supervisor,
    ) -> anyhow::Result<Self> {
        let servers = Self::own(folder, state, keeper).await?;
        servers.wait().await?;
        Ok(servers)
    }

    async fn own(folder: &Path, state: &mut State, keeper: &Supervisor) -> anyhow::Result<Self> {
        if docker::answers().await && docker::has_images().await {
            eprintln!("starting Postgres and RabbitMQ in Docker");
            return Self::launch(Source::Docker, folder, state, keeper).await;
        }
        if let Err(missing) = NativeServers::find() {
            install::packages(&missing).await?;
        }
        eprintln!("starting the Postgres and RabbitMQ of this machine, privately");
        Self::launch(Source::NativeServers, folder, state, keeper).await
    }

    async fn launch(
        source: Source,
        folder: &Path,
        state: &mut State,
        keeper: &Supervisor,
    ) -> anyhow::Result<Self> {
        // Containers have other versions and other owners: their data lies elsewhere.
        let data = folder.join(match source {
            Source::Docker => "data-docker",
            Source::NativeServers => "data",
        });
        let logs = folder.join("logs");
        std::fs::create_dir_all(&data)?;
        std::fs::create_dir_all(&logs)?;
        let ports = &mut state.ports;
        let postgres_port = *ports.postgres.insert(free_port(ports.postgres)?);
        let amqp = *ports.amqp.insert(free_port(ports.amqp)?);
        let management = *ports.management.insert(free_port(ports.management)?);
        // Before anything is started with them.
        state.write(folder)?;

        let (postgres_log, rabbitmq_log) = (logs.join("postgres.log"), logs.join("rabbitmq.log"));
        let database_password = &state.database_password;
        let broker_password = &state.broker_password;
        let mut programs = Vec::new();
        let ctl = match source {
            Source::Docker => {
                programs.push(docker::postgres(
                    &data,
                    &postgres_log,
                    postgres_port,
                    database_password,
                ));
                let ports = (amqp, management);
                programs.push(docker::rabbitmq(
                    &data,
                    &rabbitmq_log,
                    ports,
                    broker_password,
                ));
                Ctl {
                    program: "docker".into(),
                    arguments: docker::rabbitmqctl(amqp),
                    variables: Vec::new(),
                }
            }
            Source::NativeServers => {
                let installed = NativeServers::find()
                    .map_err(|missing| anyhow::anyhow!("still missing: {}", missing.join(" ")))?;
                let ports = BrokerPorts {
                    amqp,
                    management,
                    distribution: free_port(None)?,
                    epmd: free_port(None)?,
                };
                programs.push(
                    installed
                        .postgres(&data, &postgres_log, postgres_port, database_password)
                        .await?,
                );
                programs.push(installed.epmd(&logs.join("epmd.log"), ports.epmd));
                programs.push(installed.rabbitmq(&data, &rabbitmq_log, ports, broker_password)?);
                let (program, variables) = installed.rabbitmqctl(&data, ports);
                Ctl {
                    program,
                    arguments: Vec::new(),
                    variables,
                }
            }
        };
        let kept = programs
            .into_iter()
            .map(|program| keeper.keep(program))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            database_url: format!(
                "postgres://{OWNER}:{database_password}@127.0.0.1:{postgres_port}/postgres"
            ),
            amqp_url: format!("amqp://{OWNER}:{broker_password}@127.0.0.1:{amqp}/%2f"),
            management_url: Some(format!(
                "http://{OWNER}:{broker_password}@127.0.0.1:{management}"
            )),
            data: Some(data),
            kept,
            ctl: Some(ctl),
        })
    }

    /// Servers in containers that somebody else keeps.
    #[must_use]
    pub fn contained(
        database_url: String,
        amqp_url: String,
        management_url: String,
        data: PathBuf,
    ) -> Self {
        Self {
            database_url,
            amqp_url,
            management_url: Some(management_url),
            data: Some(data),
            kept: Vec::new(),
            ctl: None,
        }
    }

    /// Runs `rabbitmqctl` on the broker that was started.
    ///
    /// # Errors
    /// The broker is foreign, or refuses.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let ctl = self.ctl.as_ref().context("a foreign broker")?;
        let output = Command::new(&ctl.program)
            .args(&ctl.arguments)
            .args(arguments)
            .envs(ctl.variables.iter().map(|(name, value)| (*name, value)))
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "rabbitmqctl: {said}");
        Ok(())
    }

    /// The pid of a server that was started, as its own and not a wrapper's.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        *self
            .kept
            .iter()
            .find(|kept| kept.name == name)?
            .pid
            .borrow()
    }

    /// Waits until both servers answer.
    ///
    /// # Errors
    /// One does not, with the reason of its last refusal.
    pub async fn wait(&self) -> anyhow::Result<()> {
        ready("Postgres", async || {
            let mut connection = PgConnection::connect(&self.database_url).await?;
            Ok(connection.ping().await?)
        })
        .await?;
        ready("RabbitMQ", async || {
            let uri = self.amqp_url.parse().map_err(anyhow::Error::msg)?;
            let connection = runtime::broker::connect(&uri, "cargo dev").await?;
            runtime::broker::close(&connection).await;
            Ok(())
        })
        .await?;
        if let Some(url) = &self.management_url {
            let url = format!("{url}/api/overview");
            ready("RabbitMQ's management page", async || {
                reqwest::get(&url).await?.error_for_status()?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Polls until a check succeeds.
///
/// # Errors
/// It did not within two minutes; the error is its last one.
pub async fn ready(name: &str, check: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        let error = match check().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("{name} does not answer"));
        }
        sleep(POLL).await;
    }
}
