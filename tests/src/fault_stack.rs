//! A whole stack of its own, to be killed: servers and services are started again when they die,
//! as an orchestrator would, on the same ports and data.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use dev::{
    database,
    paths::{self, free_port},
    servers::{Servers, ready},
    services::{self, ServiceConfig},
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
use uuid::Uuid;

use crate::{
    api::{Api, SECRET, SPACE},
    load::Load,
    proxy::Proxy,
    publisher::Publisher,
    servers::programs,
};

/// Between which service and which server.
pub type Proxies = BTreeMap<&'static str, Proxy>;

/// Two rigs at once would take each other's time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The stack.
pub struct FaultStack {
    /// Postgres and RabbitMQ.
    pub servers: Servers,
    /// The gateways' URLs.
    pub gateway_urls: Vec<String>,
    /// The gateways.
    pub gateways: Vec<Supervised>,
    /// The workers.
    pub workers: Vec<Supervised>,
    /// How the services reach what they need.
    pub wiring: ServiceConfig,
    worker_ports: Vec<u16>,
    keeper: Supervisor,
    folder: PathBuf,
    stopped: bool,
    _turn: MutexGuard<'static, ()>,
}

impl FaultStack {
    /// Starts servers, gateways and workers, and waits until all are ready.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(gateways: usize, workers: usize) -> anyhow::Result<Self> {
        Self::wired(gateways, workers, async |_| Ok(())).await
    }

    /// A rig with a proxy between each kind of service and each server.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn proxied(gateways: usize, workers: usize) -> anyhow::Result<(Self, Proxies)> {
        let mut proxies = Proxies::default();
        let rig = Self::wired(gateways, workers, async |wiring| {
            for (name, url) in [
                ("gateway and broker", &mut wiring.gateway_amqp_url),
                ("gateway and database", &mut wiring.logins.gateway),
                ("worker and broker", &mut wiring.worker_amqp_url),
                ("worker and database", &mut wiring.logins.worker),
            ] {
                let (proxy, through) = Proxy::before(url).await?;
                *url = through;
                proxies.insert(name, proxy);
            }
            Ok(())
        })
        .await?;
        Ok((rig, proxies))
    }

    async fn wired(
        gateways: usize,
        workers: usize,
        change: impl AsyncFnOnce(&mut ServiceConfig) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let folder = paths::repository()
            .join("target/test-servers")
            .join(format!("rig-{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(folder.join("logs"))?;
        let mut state = State::open(&folder)?;
        let keeper = Supervisor::default();
        let servers = Servers::start_private(&folder, &mut state, &keeper).await?;
        let mut wiring = ServiceConfig {
            programs: programs()?,
            logs: folder.join("logs"),
            logins: database::prepare(&servers.database_url, &state.database_password).await?,
            gateway_amqp_url: servers.amqp_url.clone(),
            worker_amqp_url: servers.amqp_url.clone(),
            jwt_secret: SECRET.to_owned(),
            graphiql: None,
        };
        change(&mut wiring).await?;
        let mut rig = Self {
            servers,
            gateway_urls: Vec::new(),
            gateways: Vec::new(),
            workers: Vec::new(),
            wiring,
            worker_ports: Vec::new(),
            keeper,
            folder,
            stopped: false,
            _turn: turn,
        };
        for index in 0..workers {
            let port = free_port(None)?;
            let worker = rig.wiring.worker(&format!("worker-{index}"), port);
            rig.workers.push(rig.keeper.keep(worker)?);
            rig.worker_ports.push(port);
        }
        for index in 0..gateways {
            let port = free_port(None)?;
            let gateway = rig
                .wiring
                .gateway(&format!("gateway-{index}"), port, free_port(None)?);
            rig.gateways.push(rig.keeper.keep(gateway)?);
            rig.gateway_urls.push(format!("http://127.0.0.1:{port}"));
        }
        rig.ready().await?;
        Ok(rig)
    }

    /// Waits until everything answers again.
    ///
    /// # Errors
    /// Something does not, within two minutes.
    pub async fn ready(&self) -> anyhow::Result<()> {
        self.servers.wait().await?;
        let workers = self
            .worker_ports
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"));
        for url in self.gateway_urls.iter().cloned().chain(workers) {
            ready(&url, async || {
                let answer = reqwest::get(format!("{url}/health/ready")).await?;
                let answer = answer.error_for_status()?.text().await?;
                anyhow::ensure!(answer.contains("\"ready\""), "{answer}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Clients that save through the gateways.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub async fn load(&self, clients: usize) -> anyhow::Result<Load> {
        let diary = self.folder.join("clients.log");
        Load::start(&self.gateway_urls, clients, &diary).await
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

    /// Whatever the services were doing, ends them all at once, and the servers too.
    pub async fn kill_all(&self) {
        let services = self.gateways.iter().chain(&self.workers);
        for kept in self.servers.kept.iter().chain(services) {
            let _ = kept.signal(Signal::SIGKILL).await;
        }
    }

    /// Runs a program of ours to its end, as the owner of everything.
    #[must_use]
    pub fn program(&self, program: &str) -> Command {
        let variables = [
            ("DATABASE_URL", self.servers.database_url.clone()),
            ("AMQP_URL", self.servers.amqp_url.clone()),
        ];
        services::command(&self.wiring.programs.join(program), &variables)
    }

    /// How many commands there are of a kind: `messages_ready`, `messages_unacknowledged`.
    ///
    /// # Errors
    /// The management API does not answer.
    pub async fn commands(&self, kind: &str) -> anyhow::Result<u64> {
        let management = self.servers.management_url.as_deref().unwrap_or_default();
        let url = format!("{management}/api/queues/%2f/{}", topology::QUEUE);
        let answer = reqwest::get(url).await?.error_for_status()?;
        let queue: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        Ok(queue[kind].as_u64().unwrap_or_default())
    }

    /// One of the servers.
    ///
    /// # Errors
    /// It was not started here.
    pub fn server(&self, name: &str) -> anyhow::Result<&Supervised> {
        let mut kept = self.servers.kept.iter();
        kept.find(|kept| kept.name == name)
            .context("no such server")
    }

    /// Stops a program where it stands, for a while.
    ///
    /// # Errors
    /// It does not run.
    pub async fn freeze(&self, kept: &Supervised, time: Duration) -> anyhow::Result<()> {
        kept.freeze().await?;
        tokio::time::sleep(time).await;
        kept.thaw().await
    }

    /// The owner's way to the database. Nothing is kept open between uses.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn database(&self) -> anyhow::Result<PgPool> {
        let options = PgPoolOptions::new().max_connections(2);
        Ok(options.connect(&self.servers.database_url).await?)
    }

    /// How often a text stands in the services' logs: the proof that a fault was felt.
    ///
    /// # Errors
    /// The logs can't be read.
    pub fn logged(&self, text: &str) -> anyhow::Result<usize> {
        let mut count = 0;
        for entry in std::fs::read_dir(&self.wiring.logs)?.flatten() {
            let content = std::fs::read(entry.path())?;
            count += String::from_utf8_lossy(&content).matches(text).count();
        }
        Ok(count)
    }

    /// Where all of its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends everything and deletes its files.
    pub async fn stop(mut self) {
        self.stopped = true;
        self.end();
        // What they still write is of no use to anybody.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    fn end(&self) {
        let services = self.gateways.iter().chain(&self.workers);
        self.keeper.kill(self.servers.kept.iter().chain(services));
    }
}

/// A test that failed leaves nothing running, and its files for whoever looks for the reason.
impl Drop for FaultStack {
    fn drop(&mut self) {
        if !self.stopped {
            self.end();
        }
    }
}
