//! Builds, configures and starts gateway and worker: for the dev stack, the fault tests and the benchmark.

mod running;

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::{
    database::Logins,
    paths,
    process::ProcessGroup,
    supervisor::{Program, Stop},
};

pub use self::running::{Service, Services};

/// Variables that configure a service. They are removed from the inherited environment, which may
/// be meant for another service. OpenTelemetry's variables are inherited: a collector serves every
/// program on the machine.
const CONFIGURATION: &[&str] = &[
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "AMQP_URL",
    "AMQP_URL_FILE",
    "LISTEN",
    "METRICS_LISTEN",
    "LOG_FORMAT",
    "SHUTDOWN_DELAY",
    "PUBLISHERS",
    "LEDGER_RETENTION",
    "GATEWAY_DATABASE_URL",
    "GATEWAY_DATABASE_URL_FILE",
    "WORKER_DATABASE_URL",
    "WORKER_DATABASE_URL_FILE",
    "FAILPOINT",
    "GATEWAY_DEV",
    "GRAPHIQL_DIR",
    "JWT_SECRET",
    "JWT_SECRET_FILE",
    "IDEMPOTENCY_SECRET",
    "IDEMPOTENCY_SECRET_FILE",
    "JWKS_FILE",
    "JWKS_URL",
    "JWKS_PAUSE",
    "JWKS_MAX_AGE",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_SPACES_CLAIM",
    "ALLOWED_ORIGINS",
    "MAX_BODY_BYTES",
    "MAX_DEPTH",
    "MAX_COMPLEXITY",
    "MAX_ALIASES",
    "MAX_DIRECTIVES",
    "MAX_SAVES",
    "MAX_IN_FLIGHT",
    "MAX_SUBSCRIPTIONS",
    "MAX_TOKENS",
    "MAX_SELECTIONS",
    "MAX_ANSWER_BYTES",
    "MAX_IN_FLIGHT_PER_BEARER",
    "MAX_BODIES_BYTES",
    "MAX_ANSWERS_BYTES",
    "MAX_SUBSCRIPTIONS_PER_BEARER",
    "MAX_SOCKETS",
    "MAX_CONNECTIONS",
    "HEADER_TIMEOUT",
    "IDLE_TIMEOUT",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "TOKIO_WORKER_THREADS",
];

/// Limits that a developer's load can't reach. All of that load comes from one address.
const NO_RATE_LIMITS: [(&str, &str); 7] = [
    ("MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("REQUESTS_PER_SECOND", "4000000"),
    ("REQUESTS_BURST", "4000000"),
    ("SAVES_PER_SECOND", "4000000"),
    ("SAVES_BURST", "4000000"),
    ("READS_PER_SECOND", "4000000"),
    ("READS_BURST", "4000000"),
];

/// The services' programs.
pub const SERVICES: [&str; 2] = ["gateway", "worker"];

/// Environment variables of a service, by name.
pub type Variables = Vec<(&'static str, String)>;

/// The variables that a gateway needs, in the dev stack and in the tests.
#[must_use]
pub fn gateway_variables(
    database_url: &str,
    amqp_url: &str,
    port: u16,
    metrics_port: u16,
) -> Variables {
    let mut variables = service_variables(database_url, amqp_url, port);
    variables.push(("METRICS_LISTEN", format!("127.0.0.1:{metrics_port}")));
    variables.extend(NO_RATE_LIMITS.map(|(name, value)| (name, value.to_owned())));
    variables
}

/// The variables that both services need, in the dev stack and in the tests.
#[must_use]
pub fn service_variables(database_url: &str, amqp_url: &str, port: u16) -> Variables {
    vec![
        ("DATABASE_URL", database_url.to_owned()),
        ("AMQP_URL", amqp_url.to_owned()),
        ("LISTEN", format!("127.0.0.1:{port}")),
    ]
}

/// Cargo, in the workspace.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::repository());
    command
}

/// Runs `cargo test` to its end. Dropping the future kills cargo and the tests. Killing cargo alone
/// would leave the tests running, because they are its child processes.
///
/// # Errors
/// Cargo can't be started.
pub async fn run_tests(mut command: Command) -> anyhow::Result<ExitStatus> {
    let mut child = command
        // A process that is not in the terminal's foreground group is stopped when it reads from it.
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let _group = ProcessGroup::of(&child);
    Ok(child.wait().await?)
}

/// Builds programs of this workspace, and returns their folder. Cargo shows its progress.
///
/// # Errors
/// The programs don't compile.
pub async fn build(programs: &[&str], release: bool) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--locked"])
        .args(programs.iter().flat_map(|program| ["--bin", *program]))
        .args(release.then_some("--release"))
        .kill_on_drop(true);
    ensure!(
        command.status().await?.success(),
        "{} can't be built",
        programs.join(" and ")
    );
    // Cargo runs in the top folder, and a relative path starts there.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let target = paths::repository().join(target);
    Ok(target.join(if release { "release" } else { "debug" }))
}

/// How to start gateway and worker.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The folder of the programs.
    pub programs: PathBuf,
    /// The folder of their logs.
    pub logs: PathBuf,
    /// The services' database URLs.
    pub logins: Logins,
    /// The gateway's URL of the broker.
    pub gateway_amqp_url: String,
    /// The worker's URL of the broker.
    pub worker_amqp_url: String,
    /// The secret that signs tokens.
    pub jwt_secret: String,
    /// The folder of GraphiQL's files.
    pub graphiql: Option<PathBuf>,
}

impl ServiceConfig {
    /// A gateway on `port`, with its metrics on `metrics_port`.
    #[must_use]
    pub fn gateway(&self, name: &str, port: u16, metrics_port: u16) -> Program {
        let (database_url, amqp_url) = (&self.logins.gateway, &self.gateway_amqp_url);
        let mut variables = gateway_variables(database_url, amqp_url, port, metrics_port);
        variables.push(("JWT_SECRET", self.jwt_secret.clone()));
        variables.push(("GATEWAY_DEV", true.to_string()));
        let graphiql = self.graphiql.as_deref();
        variables.extend(graphiql.map(|folder| ("GRAPHIQL_DIR", folder.display().to_string())));
        // On SIGTERM the gateway would wait for a load balancer, and there is none.
        self.program(name, "gateway", variables, Signal::SIGINT)
    }

    /// A worker with its health and metrics on `port`.
    #[must_use]
    pub fn worker(&self, name: &str, port: u16) -> Program {
        let variables = service_variables(&self.logins.worker, &self.worker_amqp_url, port);
        self.program(name, "worker", variables, Signal::SIGTERM)
    }

    fn program(
        &self,
        name: &str,
        program: &str,
        mut variables: Variables,
        stop: Signal,
    ) -> Program {
        let path = self.programs.join(program);
        variables.push(("LOG_FORMAT", "text".to_owned()));
        Program {
            name: name.to_owned(),
            command: Box::new(move || command(&path, &variables)),
            log: self.logs.join(format!("{name}.log")),
            pid_file: None,
            stop: Stop::Signal(stop),
        }
    }
}

/// A service's command with exactly this configuration. It is passed in the environment, because
/// every user of the machine can read a command's arguments.
#[must_use]
pub fn command(program: &Path, variables: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(program);
    let rates = NO_RATE_LIMITS.map(|(name, _)| name);
    for name in CONFIGURATION.iter().chain(&rates) {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}
