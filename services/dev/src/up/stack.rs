//! The running stack: servers, gateways and workers.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::time::{sleep, timeout};

use super::summary::Summary;
use crate::{
    broker, database, graphiql,
    orphans::{self, PidWriter},
    paths::free_port,
    servers::Servers,
    services::{self, ServiceConfig, Services},
    stack_env,
    state::State,
    supervisor::Supervisor,
};

const GATEWAY_PORT: u16 = 8080;
/// How long to wait for a restarted program before `stack.env` gets its new pid. The wait is
/// bounded, because another program may be stopped on purpose.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Stack {
    folder: PathBuf,
    worker_count: u16,
    gateway_count: u16,
    state: State,
    supervisor: Arc<Supervisor>,
    pid_writer: PidWriter,
    servers: Option<Servers>,
    services: Services,
}

impl Stack {
    pub(super) fn new(
        folder: PathBuf,
        worker_count: u16,
        gateway_count: u16,
    ) -> anyhow::Result<Self> {
        let _ = fs::remove_file(stack_env::path(&folder));
        // A run that stopped in good order has written no pids.
        let _ = orphans::stop(&folder);
        let supervisor = Arc::new(Supervisor::default());
        Ok(Self {
            state: State::open(&folder)?,
            pid_writer: PidWriter::start(&folder, &supervisor),
            supervisor,
            folder,
            worker_count,
            gateway_count,
            servers: None,
            services: Services::default(),
        })
    }

    /// Starts everything, and then keeps `stack.env` up to date. Never ends without an error.
    pub(super) async fn run(&mut self, port: Option<u16>, release: bool) -> anyhow::Result<()> {
        let port = first_port(port)?;
        eprintln!("building gateway and worker");
        let (programs, ()) = tokio::join!(
            services::build(&services::SERVICES, release),
            graphiql::fetch(&self.folder),
        );
        let programs = programs?;
        let servers = Servers::start(&self.folder, &mut self.state, &self.supervisor).await?;
        self.servers = Some(servers);
        let config = self.prepare(programs).await?;
        eprintln!("starting gateway and worker");
        self.services = Services::start(
            &config,
            &self.supervisor,
            self.gateway_count,
            self.worker_count,
            Some(port),
        )?;
        self.wait().await?;
        let summary = self.summary()?;
        stack_env::write(&self.folder, &summary.variables())?;
        print_greeting(&summary, &self.folder);
        loop {
            self.pid_change().await;
            let _ = timeout(RECOVERY_TIMEOUT, self.wait()).await;
            stack_env::write(&self.folder, &self.summary()?.variables())?;
        }
    }

    /// Declares the queues and migrates the schema.
    async fn prepare(&self, programs: PathBuf) -> anyhow::Result<ServiceConfig> {
        let servers = self.servers.as_ref().context("no servers")?;
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs)?;
        eprintln!("declaring the queues");
        broker::prepare(&servers.amqp_url).await?;
        eprintln!("migrating the database");
        let logins = database::prepare(&servers.database_url, &self.state.database_password)
            .await
            .map_err(|error| database::explain(error, servers.data.as_deref()))?;
        Ok(ServiceConfig {
            programs,
            logs,
            logins,
            gateway_amqp_url: servers.amqp_url.clone(),
            worker_amqp_url: servers.amqp_url.clone(),
            jwt_secret: self.state.jwt_secret.clone(),
            graphiql: Some(graphiql::folder(&self.folder)),
        })
    }

    /// Waits until all servers and services are ready.
    async fn wait(&self) -> anyhow::Result<()> {
        if let Some(servers) = &self.servers {
            servers.wait().await?;
        }
        self.services.ready().await
    }

    fn pids(&self) -> Vec<Option<u32>> {
        let servers = self.servers.iter().flat_map(|servers| &servers.programs);
        servers
            .chain(self.services.all().map(|service| &service.program))
            .map(|program| *program.pid.borrow())
            .collect()
    }

    /// Ends when a program has another pid than before, or none.
    async fn pid_change(&self) {
        let before = self.pids();
        while self.pids() == before {
            sleep(POLL).await;
        }
    }

    fn summary(&self) -> anyhow::Result<Summary> {
        let servers = self.servers.as_ref().context("no servers")?;
        Ok(Summary {
            services: self.services.clone(),
            database_url: servers.database_url.clone(),
            amqp_url: servers.amqp_url.clone(),
            management_url: servers.management_url.clone(),
            token: Summary::token(&self.state.jwt_secret)?,
            logs: self.folder.join("logs"),
            data: servers.data.clone(),
            postgres_pid: servers.pid("Postgres"),
            rabbitmq_pid: servers.pid("RabbitMQ"),
        })
    }

    pub(super) async fn stop(mut self) {
        self.pid_writer.stop().await;
        self.supervisor.stop().await;
        // Ctrl-C may have come while a container was being created.
        orphans::remove_containers(&self.folder);
        orphans::forget(&self.folder);
    }
}

/// The given port if it is free; without one, 8080 or another free port.
fn first_port(port: Option<u16>) -> anyhow::Result<u16> {
    let Some(port) = port else {
        return free_port(Some(GATEWAY_PORT));
    };
    let is_free = free_port(Some(port))? == port;
    ensure!(is_free, "--port {port}: the port is taken");
    Ok(port)
}

#[expect(clippy::print_stdout, reason = "this is the output of the command")]
fn print_greeting(summary: &Summary, folder: &Path) {
    println!("{}", summary.greeting(&stack_env::path(folder)));
}
