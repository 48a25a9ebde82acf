//! What the benchmark runs against: two databases, the services of the product, and the plain
//! service `direct`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use dev::{
    broker, database,
    paths::{self, free_port},
    servers::ready,
    services::{self, ServiceConfig, Services},
    supervisor::{Program, Stop},
    test_servers::TestServers,
    up::SPACE,
};
use gateway::auth::dev_token;
use nix::sys::signal::Signal;
use reqwest::Url;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::process::Command;

use super::{load, processes::Processes, report::Subject};

const PASSWORD: &str = "bench";
const TOKEN_LIFETIME: Duration = Duration::from_hours(12);

pub struct Environment<'a> {
    pub servers: &'a TestServers,
    pub config: ServiceConfig,
    pub processes: Processes,
    programs: PathBuf,
    /// The database of the plain service.
    direct_url: String,
    token: String,
    product_port: u16,
    direct_port: u16,
}

impl<'a> Environment<'a> {
    /// Creates the databases. No service runs yet.
    pub async fn new(programs: PathBuf, servers: &'a TestServers) -> anyhow::Result<Self> {
        let logs = paths::repository().join("target/bench/logs");
        fs::create_dir_all(&logs)?;
        let (database_url, amqp_url) = (&servers.servers.database_url, &servers.servers.amqp_url);
        let secret = "s".repeat(32);
        let mut owner = PgConnection::connect(database_url).await?;
        owner.execute("create database direct").await?;
        let mut direct_url = Url::parse(database_url)?;
        direct_url.set_path("direct");
        database::prepare(direct_url.as_str(), PASSWORD).await?;
        let mut processes = Processes::default();
        for server in &servers.servers.programs {
            processes.add(server).await;
        }
        Ok(Self {
            token: dev_token::sign(&secret, SPACE, "bench", TOKEN_LIFETIME)?,
            config: ServiceConfig {
                programs: programs.clone(),
                logs,
                logins: database::prepare(database_url, PASSWORD).await?,
                gateway_amqp_url: amqp_url.clone(),
                worker_amqp_url: amqp_url.clone(),
                jwt_secret: secret,
                graphiql: None,
            },
            processes,
            programs,
            direct_url: direct_url.into(),
            product_port: free_port(None)?,
            direct_port: free_port(None)?,
            servers,
        })
    }

    /// Starts worker, gateway and the plain service, and waits until they are ready.
    pub async fn start_services(&mut self) -> anyhow::Result<()> {
        let supervisor = &self.servers.supervisor;
        let services = Services::start(&self.config, supervisor, 1, 1, Some(self.product_port))?;
        let direct = supervisor.start(self.direct_program())?;
        services.ready().await?;
        let url = format!("http://{}/health/ready", self.address(Subject::Direct));
        ready(&direct.name, async || {
            reqwest::get(&url).await?.error_for_status()?;
            Ok(())
        })
        .await?;
        for service in services.all() {
            self.processes.add(&service.program).await;
        }
        self.processes.add(&direct).await;
        Ok(())
    }

    fn direct_program(&self) -> Program {
        let variables = vec![
            ("DATABASE_URL", self.direct_url.clone()),
            ("LISTEN", self.address(Subject::Direct)),
        ];
        let path = self.programs.join("direct");
        Program {
            name: "direct".to_owned(),
            command: Box::new(move || services::command(&path, &variables)),
            log: self.config.logs.join("direct.log"),
            pid_file: None,
            stop: Stop::Signal(Signal::SIGTERM),
        }
    }

    /// Starts a worker alone.
    pub fn start_worker(&self) -> anyhow::Result<()> {
        Services::start(&self.config, &self.servers.supervisor, 0, 1, None).map(drop)
    }

    /// The host and port of a service.
    pub fn address(&self, subject: Subject) -> String {
        let port = match subject {
            Subject::Product => self.product_port,
            Subject::Direct => self.direct_port,
        };
        format!("127.0.0.1:{port}")
    }

    /// The database of a service, as its owner.
    pub fn database_url(&self, subject: Subject) -> &str {
        match subject {
            Subject::Product => &self.servers.servers.database_url,
            Subject::Direct => &self.direct_url,
        }
    }

    pub fn load(&self, arguments: &[&str]) -> Command {
        load::command(&self.programs, &self.token, arguments)
    }

    /// Creates a virtual host, and returns the services' configuration for it.
    pub async fn virtual_host(&self, name: &str) -> anyhow::Result<ServiceConfig> {
        let management = self.servers.servers.management_url.as_deref();
        let management = management.context("no management API")?;
        broker::create_virtual_host(management, name).await?;
        let amqp_url = &self.config.worker_amqp_url;
        let amqp_url = amqp_url.replace("/%2f", &format!("/{name}"));
        Ok(ServiceConfig {
            gateway_amqp_url: amqp_url.clone(),
            worker_amqp_url: amqp_url,
            ..self.config.clone()
        })
    }
}
