//! A stack for one fault test: servers and services that the test may kill. A supervisor restarts
//! them on the same ports and with the same data, as an orchestrator would.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use dev::{
    database,
    run_folder::RunFolder,
    servers::{Servers, Source},
    services::{self, Service, ServiceConfig, Services},
    state::State,
    supervisor::{Supervised, Supervisor},
};
use nix::sys::signal::Signal;
use proto::amqp::topology;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    process::Command,
    sync::{Mutex, MutexGuard},
};

use crate::{
    api::{Api, SECRET, SPACE},
    load::Load,
    proxy::Proxy,
    publisher::Publisher,
    servers::programs,
};

/// One proxy between each kind of service and each server, by name.
pub type Proxies = BTreeMap<&'static str, Proxy>;

/// Two stacks at the same time would slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The stack. After a failed test, dropping it kills its programs. The files stay, to find the cause.
/// If the test is killed, the next one stops the programs.
pub struct FaultStack {
    /// Postgres and RabbitMQ.
    pub servers: Servers,
    /// The gateways' URLs.
    pub gateway_urls: Vec<String>,
    /// The gateways.
    pub gateways: Vec<Supervised>,
    /// The workers.
    pub workers: Vec<Supervised>,
    /// How the services are started.
    pub config: ServiceConfig,
    services: Services,
    supervisor: Arc<Supervisor>,
    folder: RunFolder,
    _turn: MutexGuard<'static, ()>,
}

impl FaultStack {
    /// Starts servers, gateways and workers, and waits until all are ready.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(gateways: u16, workers: u16) -> anyhow::Result<Self> {
        Self::start_with(gateways, workers, async |_| Ok(())).await
    }

    /// Starts a stack with a proxy between each kind of service and each server.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn proxied(gateways: u16, workers: u16) -> anyhow::Result<(Self, Proxies)> {
        let mut proxies = Proxies::default();
        let stack = Self::start_with(gateways, workers, async |config| {
            for (name, url) in [
                ("gateway and broker", &mut config.gateway_amqp_url),
                ("gateway and database", &mut config.logins.gateway),
                ("worker and broker", &mut config.worker_amqp_url),
                ("worker and database", &mut config.logins.worker),
            ] {
                let (proxy, through) = Proxy::before(url).await?;
                *url = through;
                proxies.insert(name, proxy);
            }
            Ok(())
        })
        .await?;
        Ok((stack, proxies))
    }

    async fn start_with(
        gateways: u16,
        workers: u16,
        change: impl AsyncFnOnce(&mut ServiceConfig) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let supervisor = Arc::new(Supervisor::default());
        let folder = RunFolder::create("faults", &supervisor)?;
        let mut state = State::open(folder.path())?;
        let servers = Servers::start_private(
            Source::from_environment()?,
            folder.path(),
            &mut state,
            &supervisor,
        )
        .await?;
        let mut config = ServiceConfig {
            programs: programs()?,
            logs: folder.logs(),
            logins: database::prepare(&servers.database_url, &state.database_password).await?,
            gateway_amqp_url: servers.amqp_url.clone(),
            worker_amqp_url: servers.amqp_url.clone(),
            jwt_secret: SECRET.to_owned(),
            graphiql: None,
        };
        change(&mut config).await?;
        let services = Services::start(&config, &supervisor, gateways, workers, None)?;
        let programs =
            |services: &[Service]| services.iter().map(|it| it.program.clone()).collect();
        let stack = Self {
            servers,
            gateway_urls: services.gateways.iter().map(Service::url).collect(),
            gateways: programs(&services.gateways),
            workers: programs(&services.workers),
            config,
            services,
            supervisor,
            folder,
            _turn: turn,
        };
        stack.ready().await?;
        Ok(stack)
    }

    /// Waits until all servers and services are ready.
    ///
    /// # Errors
    /// One of them is not ready within two minutes.
    pub async fn ready(&self) -> anyhow::Result<()> {
        self.servers.wait().await?;
        self.services.ready().await
    }

    /// Clients that save through the gateways.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub async fn load(&self, clients: usize) -> anyhow::Result<Load> {
        let log = self.folder.path().join("clients.log");
        Load::start(&self.gateway_urls, clients, &log).await
    }

    /// A client of the first gateway.
    ///
    /// # Errors
    /// No token can be made.
    pub fn api(&self) -> anyhow::Result<Api> {
        Api::new(&self.gateway_urls[0], SPACE)
    }

    /// A service that publishes commands itself.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn publisher(&self) -> anyhow::Result<Publisher> {
        Publisher::connect(&self.servers.amqp_url.parse().map_err(anyhow::Error::msg)?).await
    }

    /// Kills all services and servers at the same time.
    pub async fn kill_all(&self) {
        let services = self.gateways.iter().chain(&self.workers);
        for program in self.servers.programs.iter().chain(services) {
            let _ = program.signal(Signal::SIGKILL).await;
        }
    }

    /// A command that runs one of the programs as the owner of database and broker.
    #[must_use]
    pub fn program(&self, program: &str) -> Command {
        let variables = [
            ("DATABASE_URL", self.servers.database_url.clone()),
            ("AMQP_URL", self.servers.amqp_url.clone()),
        ];
        services::command(&self.config.programs.join(program), &variables)
    }

    /// The number of messages in the command queue: `messages`, `messages_ready` or
    /// `messages_unacknowledged`.
    ///
    /// # Errors
    /// The management API fails.
    pub async fn commands(&self, kind: &str) -> anyhow::Result<u64> {
        let management = self.servers.management_url.as_deref().unwrap_or_default();
        let url = format!("{management}/api/queues/%2f/{}", topology::QUEUE);
        let answer = reqwest::get(url).await?.error_for_status()?;
        let queue: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(queue[kind].as_u64().unwrap_or_default())
    }

    /// A server by its name.
    ///
    /// # Errors
    /// The stack did not start it.
    pub fn server(&self, name: &str) -> anyhow::Result<&Supervised> {
        let mut programs = self.servers.programs.iter();
        programs
            .find(|program| program.name == name)
            .context("no such server")
    }

    /// Freezes a program for a time.
    ///
    /// # Errors
    /// It is not running.
    pub async fn freeze(&self, program: &Supervised, time: Duration) -> anyhow::Result<()> {
        program.freeze().await?;
        tokio::time::sleep(time).await;
        program.thaw().await
    }

    /// A connection pool of the database's owner.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn database(&self) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new().max_connections(2);
        Ok(options.connect(&self.servers.database_url).await?)
    }

    /// How often a text is in the services' logs. Tests use it to prove that a fault had an effect.
    ///
    /// # Errors
    /// The logs can't be read.
    pub fn logged(&self, text: &str) -> anyhow::Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(&self.config.logs)?.flatten() {
            let content = std::fs::read(entry.path())?;
            count += String::from_utf8_lossy(&content).matches(text).count();
        }
        Ok(count)
    }

    /// The folder of all of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills everything and deletes the files.
    pub async fn stop(self) {
        self.supervisor.kill();
        // The killed programs may still write files for a moment.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.folder.delete().await;
    }
}
