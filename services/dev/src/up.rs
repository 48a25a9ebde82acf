//! `cargo dev`: everything up, kept up, and down again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
pub use gateway::http::pages::graphiql::SPACE;
use gateway::{auth::dev_token, http::pages::graphiql::SAMPLE};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use crate::{
    broker, database, graphiql, orphans,
    paths::{self, free_port},
    servers::{Servers, ready},
    services::{self, ServiceConfig},
    stack_env,
    state::State,
    supervisor::{Supervised, Supervisor},
};

const A_DAY: Duration = Duration::from_hours(24);
const GATEWAY_PORT: u16 = 8080;
/// How long the rewritten file may wait for what was started again to be ready.
const RECOVERY: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// Build and run gateway and worker optimised.
    #[arg(long)]
    pub release: bool,

    /// How many workers; all but one stand by.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub workers: u16,

    /// How many gateways; each further one has a port of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub gateways: u16,

    /// The first gateway's port. A port that is taken: nothing starts. Not given: 8080, or
    /// another one where that is taken.
    #[arg(long)]
    pub port: Option<u16>,
}

/// Where the stack keeps its files.
#[must_use]
pub fn folder() -> PathBuf {
    paths::repository().join(".dev")
}

/// Runs the stack until SIGINT or SIGTERM.
///
/// # Errors
/// Something can't be started, or another stack runs in this folder. Whatever was started is
/// stopped again.
pub async fn up(args: UpArgs) -> anyhow::Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    ensure!(
        lock.try_lock().is_ok(),
        "a stack is running here already (see .dev/stack.env)"
    );
    let stopped = told_to_stop()?;
    let mut stack = Stack::new(folder.clone(), args)?;
    let result = tokio::select! {
        result = stack.run() => result,
        () = stopped => Ok(()),
    };
    eprintln!("stopping");
    let _ = fs::remove_file(stack_env::path(&folder));
    stack.stop().await;
    result
}

/// Ends with the first SIGINT or SIGTERM from now on.
///
/// # Errors
/// The signals can't be had.
pub fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

struct Stack {
    folder: PathBuf,
    args: UpArgs,
    state: State,
    keeper: Supervisor,
    servers: Option<Servers>,
    gateways: Vec<(u16, Supervised)>,
    metrics_ports: Vec<u16>,
    workers: Vec<(u16, Supervised)>,
}

impl Stack {
    fn new(folder: PathBuf, args: UpArgs) -> anyhow::Result<Self> {
        let _ = fs::remove_file(stack_env::path(&folder));
        orphans::stop(&folder);
        Ok(Self {
            state: State::open(&folder)?,
            folder,
            args,
            keeper: Supervisor::default(),
            servers: None,
            gateways: Vec::new(),
            metrics_ports: Vec::new(),
            workers: Vec::new(),
        })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let port = match self.args.port {
            Some(port) => {
                ensure!(
                    free_port(Some(port))? == port,
                    "--port {port}: the port is taken"
                );
                port
            }
            None => free_port(Some(GATEWAY_PORT))?,
        };
        eprintln!("building gateway and worker");
        let (programs, ()) = tokio::join!(
            services::build(&services::SERVICES, self.args.release),
            graphiql::fetch(&self.folder),
        );
        let programs = programs?;
        self.servers = Some(Servers::start(&self.folder, &mut self.state, &self.keeper).await?);
        self.remember()?;
        self.start_services(programs, port).await?;
        self.write_env()?;
        self.greet()?;
        loop {
            self.changed().await;
            self.remember()?;
            // Not forever: something else may be stopped, and the new pid is wanted meanwhile.
            let _ = timeout(RECOVERY, self.wait()).await;
            self.remember()?;
            self.write_env()?;
        }
    }

    async fn start_services(&mut self, programs: PathBuf, port: u16) -> anyhow::Result<()> {
        let servers = self.servers.as_ref().context("no servers")?;
        let logs = self.folder.join("logs");
        fs::create_dir_all(&logs)?;
        broker::prepare(&servers.amqp_url).await?;
        let password = &self.state.database_password;
        let wiring = ServiceConfig {
            programs,
            logs,
            logins: database::prepare(&servers.database_url, password).await?,
            gateway_amqp_url: servers.amqp_url.clone(),
            worker_amqp_url: servers.amqp_url.clone(),
            jwt_secret: self.state.jwt_secret.clone(),
            graphiql: Some(graphiql::folder(&self.folder)),
        };
        for index in 0..self.args.workers {
            let port = free_port(None)?;
            let worker = wiring.worker(&numbered("worker", index), port);
            let kept = self.keeper.keep(worker)?;
            self.workers.push((port, kept));
        }
        for index in 0..self.args.gateways {
            let port = if index == 0 {
                port
            } else {
                free_port(port.checked_add(index))?
            };
            let metrics_port = free_port(None)?;
            self.metrics_ports.push(metrics_port);
            let gateway = wiring.gateway(&numbered("gateway", index), port, metrics_port);
            let kept = self.keeper.keep(gateway)?;
            self.gateways.push((port, kept));
        }
        self.remember()?;
        self.wait().await
    }

    /// Waits until everything answers.
    async fn wait(&self) -> anyhow::Result<()> {
        if let Some(servers) = &self.servers {
            servers.wait().await?;
        }
        for (port, kept) in self.gateways.iter().chain(&self.workers) {
            let url = format!("http://127.0.0.1:{port}/health/ready");
            ready(&kept.name, async || {
                let answer = reqwest::get(&url).await?.error_for_status()?.text().await?;
                ensure!(answer.contains("\"ready\""), "{answer}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn kept(&self) -> impl Iterator<Item = &Supervised> {
        let servers = self.servers.iter().flat_map(|servers| &servers.kept);
        let services = self.workers.iter().chain(&self.gateways);
        servers.chain(services.map(|(_, kept)| kept))
    }

    /// Ends when something has another pid than before, or none.
    async fn changed(&self) {
        let pids = || {
            self.kept()
                .map(|kept| *kept.pid.borrow())
                .collect::<Vec<_>>()
        };
        let before = pids();
        while pids() == before {
            sleep(POLL).await;
        }
    }

    fn write_env(&self) -> anyhow::Result<()> {
        let servers = self.servers.as_ref().context("no servers")?;
        let pid = |pid: Option<u32>| pid.map(|pid| pid.to_string()).unwrap_or_default();
        let pids = |kept: &[(u16, Supervised)]| {
            let all: Vec<_> = kept
                .iter()
                .map(|(_, kept)| pid(*kept.pid.borrow()))
                .collect();
            all.join(",")
        };
        let urls = |kept: &[(u16, Supervised)]| {
            let all: Vec<_> = kept.iter().map(|(port, _)| url(*port)).collect();
            all.join(",")
        };
        let first =
            |kept: &[(u16, Supervised)]| pid(kept.first().and_then(|(_, kept)| *kept.pid.borrow()));
        let path = |path: &Path| path.display().to_string();
        stack_env::write(
            &self.folder,
            &[
                (
                    "GATEWAY_URL",
                    self.gateways
                        .first()
                        .map(|(port, _)| url(*port))
                        .unwrap_or_default(),
                ),
                ("GATEWAY_URLS", urls(&self.gateways)),
                ("WORKER_URLS", urls(&self.workers)),
                ("METRICS_URLS", self.metrics_urls().join(",")),
                ("DATABASE_URL", servers.database_url.clone()),
                ("AMQP_URL", servers.amqp_url.clone()),
                (
                    "MANAGEMENT_URL",
                    servers.management_url.clone().unwrap_or_default(),
                ),
                ("SPACE_GUID", SPACE.to_owned()),
                (
                    "TOKEN",
                    dev_token::sign(&self.state.jwt_secret, SPACE, "developer", A_DAY)?,
                ),
                ("LOG_DIR", path(&self.folder.join("logs"))),
                (
                    "DATA_DIR",
                    servers.data.as_deref().map(path).unwrap_or_default(),
                ),
                ("GATEWAY_PID", first(&self.gateways)),
                ("GATEWAY_PIDS", pids(&self.gateways)),
                ("WORKER_PID", first(&self.workers)),
                ("WORKER_PIDS", pids(&self.workers)),
                ("POSTGRES_PID", pid(servers.pid("Postgres"))),
                ("RABBITMQ_PID", pid(servers.pid("RabbitMQ"))),
            ],
        )
    }

    /// Where Prometheus would fetch.
    fn metrics_urls(&self) -> Vec<String> {
        let workers = self.workers.iter().map(|(port, _)| port);
        let ports = self.metrics_ports.iter().chain(workers);
        ports
            .map(|port| format!("{}/metrics", url(*port)))
            .collect()
    }

    fn remember(&self) -> anyhow::Result<()> {
        let pids = self.kept().filter_map(|kept| *kept.pid.borrow());
        orphans::remember(&self.folder, pids)
    }

    #[expect(clippy::print_stdout, reason = "this is what the command is for")]
    fn greet(&self) -> anyhow::Result<()> {
        let port = self
            .gateways
            .first()
            .map_or(GATEWAY_PORT, |(port, _)| *port);
        let gateway = url(port);
        let token = dev_token::sign(&self.state.jwt_secret, SPACE, "developer", A_DAY)?;
        println!(
            "\nConnector Details is ready.\n\n  \
               GraphQL  {gateway}/graphql\n  \
               console  {gateway}/console#token={token}\n  \
               GraphiQL {gateway}/\n  \
               metrics  {}\n  \
               files    {}\n  \
               token    {token}\n\n\
             Paste this into another terminal to save the published sample:\n\n\
             curl -s {gateway}/graphql -H 'SPACE_GUID: {SPACE}' \\\n  \
               -H 'Content-Type: application/json' \\\n  \
               -H 'Authorization: Bearer {token}' \\\n  \
               --data-binary @- <<'EOF'\n{}\nEOF\n\n\
             Ctrl-C stops everything; the data stays.",
            self.metrics_urls().join(" "),
            stack_env::path(&self.folder).display(),
            sample(),
        );
        Ok(())
    }

    async fn stop(self) {
        self.keeper.stop().await;
        orphans::forget(&self.folder);
    }
}

fn numbered(name: &str, index: u16) -> String {
    match index {
        0 => name.to_owned(),
        _ => format!("{name}-{}", index + 1),
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// The published sample as the body of a request.
fn sample() -> String {
    serde_json::json!({ "query": SAMPLE }).to_string()
}
