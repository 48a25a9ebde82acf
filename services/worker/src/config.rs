//! The worker's configuration: flags, or environment variables of the same meaning; and secrets,
//! by the environment or from files alone.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use clap::{Parser, Subcommand};
use lapin::uri::AMQPUri;
use percent_encoding::percent_decode_str;
use runtime::logs::LogFormat;
use runtime::settings::{self, SettingError};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::{migrate::Role, publisher_acl::PublisherAcl, replay::ReplayArgs};

const A_DAY: Duration = Duration::from_hours(24);

const SECRETS: &str = "\
Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says, by OTLP over HTTP; the other variables of
OpenTelemetry are read, too. Missing: nowhere.

Secrets, each as an environment variable of this name or in a file that NAME_FILE names:
  DATABASE_URL          Postgres, as postgres://user:password@host:port/database. Needs the rights
                        of the role connector_details_worker; to migrate, those of the owner.
  AMQP_URL              RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS).
  GATEWAY_DATABASE_URL  To migrate: the gateway's login, as the URL that the gateway is going to
                        use. Missing: make it yourself, in the role connector_details_gateway.
  WORKER_DATABASE_URL   To migrate: the worker's login, in the same way.";

/// Stores the connector details that others publish.
#[derive(Debug, Parser)]
#[command(version, about, after_help = SECRETS)]
pub struct Config {
    /// What to do; without a command: consume.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to consume.
    #[command(flatten)]
    pub consume: ConsumeArgs,
}

/// What the worker can do besides consuming.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the schema up to date and leave. Safe to repeat, and by several at once.
    Migrate,
    /// Ask the worker that listens at LISTEN whether it is ready, and leave: for containers.
    Healthcheck,
    /// Send parked commands again, once their reason is gone. Each keeps its id: what was applied
    /// already changes nothing. What is older than its record's last change stays parked. Needs
    /// DATABASE_URL and AMQP_URL, with the worker's rights.
    Replay(ReplayArgs),
}

/// What consuming needs.
#[derive(Debug, clap::Args)]
pub struct ConsumeArgs {
    /// Say what is wrong with the configuration, all of it, and leave. Nothing is connected to.
    #[arg(long)]
    pub check_config: bool,

    /// Where /health/live, /health/ready and /metrics answer. A port that is taken: nothing starts.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// How long decisions are kept, such as 90d; a day at least. Shorter: the ledger is smaller, and a
    /// command that comes again after it - a repeat, a restored backup of a publisher - is forgotten
    /// and decided again; the history of records ends there. Longer: the ledger grows.
    #[arg(long, env = "LEDGER_RETENTION", default_value = "400d", value_parser = retention)]
    pub ledger_retention: Duration,

    /// How log lines look, on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,

    /// Which broker user may write which Spaces, as JSON: {"gateway": ["*"], "billing": ["GUID"]}.
    /// Where it is set, a command without an allowed user_id is refused and parked, and only who may
    /// write to every Space may name an author other than itself. Missing:
    /// whoever the broker lets publish may write to every Space.
    #[arg(long, env = "PUBLISHERS")]
    publishers: Option<PublisherAcl>,
}

fn retention(text: &str) -> Result<Duration, String> {
    let retention = settings::duration(text)?;
    if retention < A_DAY {
        return Err("must be a day at least".to_owned());
    }
    Ok(retention)
}

/// A login as a URL names it.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub name: String,
    /// The password.
    pub password: SecretString,
}

/// Where the worker's data comes from and goes to.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: AMQPUri,
    /// The database.
    pub database: PgConnectOptions,
}

impl ConsumeArgs {
    /// Checks everything that can be checked without asking anyone.
    ///
    /// # Errors
    /// All that is wrong, each naming its variable and showing no value.
    pub fn settings(&self) -> Result<Settings, Vec<SettingError>> {
        match (broker(), database()) {
            (Ok(broker), Ok(database)) => Ok(Settings { broker, database }),
            (broker, database) => Err(broker.err().into_iter().chain(database.err()).collect()),
        }
    }

    /// Who may write what.
    #[must_use]
    pub fn publishers(&self) -> PublisherAcl {
        self.publishers.clone().unwrap_or_default()
    }
}

/// The broker.
///
/// # Errors
/// Not set, or malformed.
pub fn broker() -> Result<AMQPUri, SettingError> {
    settings::parsed("AMQP_URL")
}

/// The database.
///
/// # Errors
/// Not set, or malformed.
pub fn database() -> Result<PgConnectOptions, SettingError> {
    settings::parsed("DATABASE_URL")
}

/// The logins that migrating makes sure of, each with the rights of its service and no others.
///
/// # Errors
/// A URL is malformed, or holds no password.
pub fn logins() -> anyhow::Result<Vec<(Role, Login)>> {
    let mut logins = Vec::new();
    for (role, name) in [
        (Role::Gateway, "GATEWAY_DATABASE_URL"),
        (Role::Worker, "WORKER_DATABASE_URL"),
    ] {
        if settings::find(name)?.is_some() {
            logins.push((role, login(name)?));
        }
    }
    Ok(logins)
}

fn login(variable: &'static str) -> anyhow::Result<Login> {
    let url: Url = settings::parsed(variable)?;
    let decoded = |part| percent_decode_str(part).decode_utf8();
    let name = decoded(url.username())?.into_owned();
    let password = decoded(url.password().unwrap_or_default())?;
    ensure!(!password.is_empty(), "{variable} holds no password");
    Ok(Login {
        name,
        password: password.as_ref().into(),
    })
}
