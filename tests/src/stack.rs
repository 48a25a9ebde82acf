//! A stack for one test: gateway and worker as processes, a database and a virtual host.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
pub use dev::services::Variables;
use dev::{broker, database, paths::free_port, services};
use lapin::uri::AMQPUri;
use nix::sys::signal::Signal;
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::{
    api::{Api, SECRET},
    eventually,
    publisher::Publisher,
    servers::{self, Servers},
};

const PASSWORD: &str = "test";

/// A running program that dies with the test.
pub struct Process {
    child: Child,
    /// The process id.
    pub pid: u32,
    /// The base URL.
    pub url: String,
    /// The URL of its metrics.
    pub metrics_url: String,
    /// The file with its output.
    pub log: PathBuf,
}

impl Process {
    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        dev::process::signal(self.pid, signal)
    }

    /// Sends SIGTERM, and waits for the end of the process. Returns whether its exit status is
    /// success.
    ///
    /// # Errors
    /// It does not end within half a minute.
    pub async fn stop(mut self) -> anyhow::Result<bool> {
        self.signal(Signal::SIGTERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        Ok(ended.await.context("the process did not stop")??.success())
    }

    /// Waits for a time until the process ends by itself. Returns whether it did.
    ///
    /// # Errors
    /// It can't be waited for.
    pub async fn ends_within(&mut self, time: Duration) -> anyhow::Result<bool> {
        Ok(match tokio::time::timeout(time, self.child.wait()).await {
            Ok(status) => status.map(|_| true)?,
            Err(_) => false,
        })
    }

    /// The status and body of its readiness check.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn health(&self) -> anyhow::Result<(u16, serde_json::Value)> {
        let answer = reqwest::get(format!("{}/health/ready", self.url)).await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?)?))
    }

    /// Its metrics in the format of Prometheus.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let answer = reqwest::get(&self.metrics_url).await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The value of a metric, by its name and labels.
    ///
    /// # Errors
    /// There is no such line.
    pub async fn metric(&self, line: &str) -> anyhow::Result<f64> {
        let metrics = self.metrics().await?;
        let value = metrics
            .lines()
            .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '))
            .with_context(|| format!("no {line} in {metrics}"))?;
        Ok(value.parse()?)
    }

    /// Its log. Each line is a JSON object.
    ///
    /// # Errors
    /// A line is no JSON.
    pub fn log_lines(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let log = std::fs::read_to_string(&self.log)?;
        log.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// Waits until its readiness check has this status.
    ///
    /// # Errors
    /// It never has.
    pub async fn becomes(&self, status: &str) -> anyhow::Result<()> {
        eventually(&format!("{} to be {status}", self.url), async || {
            let health = self.health().await.ok();
            Ok(health
                .filter(|(_, health)| health["status"] == status)
                .map(drop))
        })
        .await
    }
}

/// A test's own stack.
pub struct Stack {
    /// The shared servers.
    pub servers: Servers,
    /// The test's database as its owner.
    pub database_url: String,
    /// A pool of the owner's connections.
    pub database: PgPool,
    /// The services' logins.
    pub logins: database::Logins,
    /// The test's virtual host.
    pub amqp_url: String,
    /// The name of the virtual host.
    pub vhost: String,
    /// The gateway.
    pub gateway: Option<Process>,
    /// The workers, the active one first.
    pub workers: Vec<Process>,
    logs: PathBuf,
}

impl Stack {
    /// A stack with a gateway and a worker, both ready.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start() -> anyhow::Result<Self> {
        let mut stack = Self::bare().await?;
        stack.start_worker().await?;
        stack.start_gateway().await?;
        Ok(stack)
    }

    /// A database with the schema, and an empty virtual host.
    ///
    /// # Errors
    /// The servers refuse.
    pub async fn bare() -> anyhow::Result<Self> {
        let servers = servers::servers()?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut owner = PgConnection::connect(&servers.database_url).await?;
        owner
            .execute(AssertSqlSafe(format!("create database {name}")))
            .await?;
        let mut database_url = Url::parse(&servers.database_url)?;
        database_url.set_path(&name);
        let database_url = String::from(database_url);
        let logins = database::prepare(&database_url, PASSWORD).await?;
        broker::create_virtual_host(&servers.management_url, &name).await?;
        let amqp_url = servers.amqp_url.replace("/%2f", &format!("/{name}"));
        let logs = servers.logs.join(&name);
        std::fs::create_dir_all(&logs)?;
        Ok(Self {
            database: PgPool::connect(&database_url).await?,
            database_url,
            logins,
            amqp_url,
            vhost: name,
            gateway: None,
            workers: Vec::new(),
            logs,
            servers,
        })
    }

    /// Starts a gateway as `cargo dev` would, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_gateway(&mut self) -> anyhow::Result<()> {
        let variables = vec![("JWT_SECRET", SECRET.to_owned())];
        let gateway = self.gateway_with(variables)?;
        gateway.becomes("ready").await?;
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Starts a gateway with these variables beside, or instead of, the usual ones.
    ///
    /// # Errors
    /// It can't be started.
    pub fn gateway_with(&self, variables: Variables) -> anyhow::Result<Process> {
        let (port, metrics_port) = (free_port(None)?, free_port(None)?);
        let login = &self.logins.gateway;
        let mut all = services::gateway_variables(login, &self.amqp_url, port, metrics_port);
        // Without a token secret the gateway can't derive an idempotency secret.
        if variables.iter().any(|(name, _)| name.starts_with("JWKS_")) {
            all.push(("IDEMPOTENCY_SECRET", SECRET.to_owned()));
        }
        all.extend(variables);
        self.spawn("gateway", port, metrics_port, all)
    }

    /// Starts a gateway with the tests' token secret and these variables, and waits until it is
    /// ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn ready_gateway(
        &self,
        variables: &[(&'static str, &str)],
    ) -> anyhow::Result<Process> {
        let mut all = vec![("JWT_SECRET", SECRET.to_owned())];
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        all.extend(variables.iter().map(owned));
        let gateway = self.gateway_with(all)?;
        gateway.becomes("ready").await?;
        Ok(gateway)
    }

    /// Starts a worker and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_worker(&mut self) -> anyhow::Result<()> {
        let worker = self.worker_with(Vec::new())?;
        worker.becomes("ready").await?;
        self.workers.push(worker);
        Ok(())
    }

    /// Starts a worker with these variables beside, or instead of, the usual ones.
    ///
    /// # Errors
    /// It can't be started.
    pub fn worker_with(&self, variables: Variables) -> anyhow::Result<Process> {
        let port = free_port(None)?;
        let mut all = services::service_variables(&self.logins.worker, &self.amqp_url, port);
        all.extend(variables);
        self.spawn("worker", port, port, all)
    }

    fn spawn(
        &self,
        program: &str,
        port: u16,
        metrics_port: u16,
        variables: Variables,
    ) -> anyhow::Result<Process> {
        let mut all = vec![
            ("SHUTDOWN_DELAY", "0s".to_owned()),
            // The machine's trace collector must not receive spans of tests.
            ("OTEL_EXPORTER_OTLP_ENDPOINT", String::new()),
        ];
        all.extend(variables);
        let log = self.logs.join(format!("{program}-{port}.log"));
        let file = std::fs::File::create(&log)?;
        let child = services::command(&servers::programs()?.join(program), &all)
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Process {
            pid: child.id().context("no pid")?,
            child,
            url: format!("http://127.0.0.1:{port}"),
            metrics_url: format!("http://127.0.0.1:{metrics_port}/metrics"),
            log,
        })
    }

    /// A command that runs one of the programs as the owner of the database.
    ///
    /// # Errors
    /// It can't be started.
    pub fn program(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Command> {
        let variables = [("DATABASE_URL", self.database_url.clone())];
        let mut command = services::command(&servers::programs()?.join(program), &variables);
        command.args(arguments);
        Ok(command)
    }

    /// A client of the gateway, for a Space.
    ///
    /// # Errors
    /// There is no gateway, or no token can be made.
    pub fn api(&self, space: &str) -> anyhow::Result<Api> {
        let gateway = self.gateway.as_ref().context("no gateway")?;
        Api::new(&gateway.url, space)
    }

    /// A service that publishes commands itself.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn publisher(&self) -> anyhow::Result<Publisher> {
        Publisher::connect(&self.uri()?).await
    }

    /// The virtual host.
    ///
    /// # Errors
    /// Its name is no URI.
    pub fn uri(&self) -> anyhow::Result<AMQPUri> {
        self.amqp_url.parse().map_err(anyhow::Error::msg)
    }

    /// A resource of the management API in the virtual host.
    ///
    /// # Errors
    /// The resource does not exist.
    pub async fn broker(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}/api/{path}", self.servers.management_url);
        let answer = reqwest::get(url).await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}
