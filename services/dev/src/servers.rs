//! Postgres and RabbitMQ from one of four sources: the environment, Docker, programs that are
//! installed on this machine, or apt.

mod launch;
mod source;

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

pub use self::source::{Source, VARIABLE as SOURCE_VARIABLE};

use self::launch::Rabbitmqctl;
use crate::{
    state::{OWNER, State},
    supervisor::{Supervised, Supervisor},
};

/// A first start of RabbitMQ on a busy machine can take a minute.
const READY_TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// Running servers, and how to reach them.
pub struct Servers {
    /// Postgres as the owner of the databases.
    pub database_url: String,
    /// RabbitMQ as the administrator.
    pub amqp_url: String,
    /// RabbitMQ's management API with the administrator's password; `None` for external servers.
    pub management_url: Option<String>,
    /// The folder with all of the servers' data; `None` for external servers.
    pub data: Option<PathBuf>,
    /// The programs that were started; empty for external servers.
    pub programs: Vec<Supervised>,
    /// `None` unless the broker was started here.
    rabbitmqctl: Option<Rabbitmqctl>,
}

impl Servers {
    /// Uses the servers of `DATABASE_URL` and `AMQP_URL`, or starts private ones with their data and
    /// logs in `folder`. Returns when the servers are ready.
    ///
    /// # Errors
    /// The servers don't start, or can't be installed: the error says what to do.
    pub async fn start(
        folder: &Path,
        state: &mut State,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("DATABASE_URL"), variable("AMQP_URL")) {
            (Some(database_url), Some(amqp_url)) => {
                eprintln!("using the servers of DATABASE_URL and AMQP_URL");
                let servers = Self {
                    database_url,
                    amqp_url,
                    management_url: None,
                    data: None,
                    programs: Vec::new(),
                    rabbitmqctl: None,
                };
                servers.wait().await?;
                Ok(servers)
            }
            (None, None) => {
                let source = Source::from_environment()?;
                Self::start_private(source, folder, state, supervisor).await
            }
            _ => anyhow::bail!("set both DATABASE_URL and AMQP_URL, or neither"),
        }
    }

    /// Starts private servers, and waits until they are ready.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub async fn start_private(
        source: Option<Source>,
        folder: &Path,
        state: &mut State,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Self> {
        let launched = launch::launch(source, folder, state, supervisor).await?;
        let (ports, password) = (launched.ports, &state.broker_password);
        let servers = Self {
            database_url: format!(
                "postgres://{OWNER}:{}@127.0.0.1:{}/postgres",
                state.database_password, ports.postgres
            ),
            amqp_url: format!("amqp://{OWNER}:{password}@127.0.0.1:{}/%2f", ports.amqp),
            management_url: Some(format!(
                "http://{OWNER}:{password}@127.0.0.1:{}",
                ports.management
            )),
            data: Some(launched.data),
            programs: launched.programs,
            rabbitmqctl: Some(launched.rabbitmqctl),
        };
        servers.wait().await?;
        Ok(servers)
    }

    /// Servers in containers that the caller manages.
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
            programs: Vec::new(),
            rabbitmqctl: None,
        }
    }

    /// Runs `rabbitmqctl` against the broker that was started.
    ///
    /// # Errors
    /// The broker was not started here, or the command fails.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let ctl = self.rabbitmqctl.as_ref();
        let ctl = ctl.context("the broker was not started by this stack")?;
        let output = Command::new(&ctl.program)
            .args(&ctl.arguments)
            .args(arguments)
            .envs(ctl.variables.iter().map(|(name, value)| (*name, value)))
            .output()
            .await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "rabbitmqctl: {stderr}");
        Ok(())
    }

    /// The pid of a server that was started. It is the server's own, not a wrapper's.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        let mut programs = self.programs.iter();
        *programs.find(|program| program.name == name)?.pid.borrow()
    }

    /// Waits until both servers accept connections.
    ///
    /// # Errors
    /// One of them does not; the error is that of its last attempt.
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
            ready("RabbitMQ's management API", async || {
                reqwest::get(&url).await?.error_for_status()?;
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Polls until a check succeeds. A check that does not succeed at once is named on the terminal.
///
/// # Errors
/// It did not succeed within two minutes; the error is that of its last attempt.
pub async fn ready(name: &str, check: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    let mut is_announced = false;
    loop {
        let error = match check().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error).with_context(|| format!("{name} is not ready"));
        }
        if !is_announced {
            eprintln!("waiting for {name}");
            is_announced = true;
        }
        sleep(POLL).await;
    }
}
