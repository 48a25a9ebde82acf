//! The worker's configuration. Settings are flags or environment variables. Secrets are read only from
//! environment variables or files, because every user of the machine can read a process's arguments.

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

/// A shorter retention would delete the entry of a command before its publisher has stopped repeating it.
const MIN_RETENTION: Duration = Duration::from_hours(24);

const SECRETS: &str = "\
Traces are sent to OTEL_EXPORTER_OTLP_ENDPOINT, by OTLP over HTTP. The other variables of
OpenTelemetry are supported, too. If it is not set, no traces are recorded.

Secrets. Set the environment variable, or set NAME_FILE to the path of a file with the value:
  DATABASE_URL          Postgres, as postgres://user:password@host:port/database. Needs the rights
                        of the role connector_details_worker; `migrate` needs those of the owner.
  AMQP_URL              RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS).
  GATEWAY_DATABASE_URL  Only for `migrate`: the URL that the gateway will use. `migrate` creates
                        this login. If it is not set, create a login yourself and grant it the
                        role connector_details_gateway.
  WORKER_DATABASE_URL   Only for `migrate`: the same for the worker's login.";

/// Stores connector details: consumes commands from RabbitMQ and writes them to Postgres.
#[derive(Debug, Parser)]
#[command(version, about, after_help = SECRETS)]
pub struct Config {
    /// Without a subcommand, the worker consumes commands.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Settings for consuming.
    #[command(flatten)]
    pub consume: ConsumeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the schema up to date and exit. Safe to repeat, and to run several times at once.
    Migrate,
    /// Check whether the worker at LISTEN is ready, and exit. For health checks of containers.
    Healthcheck,
    /// Publish parked commands again, after the cause was fixed. Each command keeps its id, so a command
    /// that was already applied changes nothing. A command that is older than its record's last change
    /// stays parked. Needs DATABASE_URL and AMQP_URL, with the worker's rights.
    Replay(ReplayArgs),
}

/// Settings for consuming.
#[derive(Debug, clap::Args)]
pub struct ConsumeArgs {
    /// Report all errors of the configuration and exit. Opens no connection.
    #[arg(long)]
    pub check_config: bool,

    /// Address of /health/live, /health/ready and /metrics. The worker does not start if the port is in
    /// use.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// How long the outcome of each command is kept, such as 90d; at least 1d. Shorter: the ledger is
    /// smaller, but a command that is published again after this time (a retry, or a publisher that
    /// restored a backup) is applied again, and the history of records is shorter. Longer: the ledger
    /// grows.
    #[arg(long, env = "LEDGER_RETENTION", default_value = "400d", value_parser = retention)]
    pub ledger_retention: Duration,

    /// Format of the log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,

    /// Which broker user may write to which Spaces, as JSON: {"gateway": ["*"], "billing": ["GUID"]}.
    /// If it is set, a command without an allowed user_id is refused and parked, and only users with
    /// "*" may name another author than themselves. If it is missing, every user that the broker allows
    /// to publish may write to every Space.
    #[arg(long, env = "PUBLISHERS")]
    publishers: Option<PublisherAcl>,
}

fn retention(text: &str) -> Result<Duration, String> {
    let retention = settings::duration(text)?;
    if retention < MIN_RETENTION {
        return Err("must be at least 1d".to_owned());
    }
    Ok(retention)
}

/// A login of the database, as it stands in a URL.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub name: String,
    /// The password.
    pub password: SecretString,
}

/// The servers that the worker connects to.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: AMQPUri,
    /// The database.
    pub database: PgConnectOptions,
}

impl ConsumeArgs {
    /// Reads and checks the connection settings. Opens no connection.
    ///
    /// # Errors
    /// All errors at once. Each names its variable and shows no value.
    pub fn settings(&self) -> Result<Settings, Vec<SettingError>> {
        match (broker(), database()) {
            (Ok(broker), Ok(database)) => Ok(Settings { broker, database }),
            (broker, database) => Err(broker.err().into_iter().chain(database.err()).collect()),
        }
    }

    /// Which publishers may write to which Spaces. Without `PUBLISHERS` the default allows all of them.
    #[must_use]
    pub fn publishers(&self) -> PublisherAcl {
        self.publishers.clone().unwrap_or_default()
    }
}

/// The broker, from `AMQP_URL`.
///
/// # Errors
/// Not set, or malformed.
pub fn broker() -> Result<AMQPUri, SettingError> {
    settings::parsed("AMQP_URL")
}

/// The database, from `DATABASE_URL`.
///
/// # Errors
/// Not set, or malformed.
pub fn database() -> Result<PgConnectOptions, SettingError> {
    settings::parsed("DATABASE_URL")
}

/// The logins that `migrate` creates, each with only the rights of its service.
///
/// # Errors
/// A URL is malformed or has no password.
pub fn logins() -> anyhow::Result<Vec<(Role, Login)>> {
    let mut logins = Vec::new();
    for (role, name) in [
        (Role::Gateway, "GATEWAY_DATABASE_URL"),
        (Role::Worker, "WORKER_DATABASE_URL"),
    ] {
        if settings::find(name)?.is_some() {
            logins.push((role, login(name, &settings::parsed::<Url>(name)?)?));
        }
    }
    Ok(logins)
}

fn login(variable: &'static str, url: &Url) -> anyhow::Result<Login> {
    let decoded = |part| percent_decode_str(part).decode_utf8();
    let name = decoded(url.username())?.into_owned();
    let password = decoded(url.password().unwrap_or_default())?;
    ensure!(!password.is_empty(), "{variable} has no password");
    Ok(Login {
        name,
        password: password.as_ref().into(),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use proto::CatalogGuid;
    use secrecy::ExposeSecret as _;

    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn consume_args(arguments: &[&str]) -> Result<ConsumeArgs, clap::Error> {
        let command_line = [&["worker"], arguments].concat();
        Ok(Config::try_parse_from(command_line)?.consume)
    }

    #[test]
    fn the_definition_of_the_arguments_is_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn the_ledger_is_kept_for_at_least_a_day() -> TestResult {
        let args = consume_args(&["--ledger-retention", "1d"])?;
        assert_eq!(args.ledger_retention, MIN_RETENTION);

        for invalid in ["23h", "0d", "1", "soon", ""] {
            assert!(consume_args(&["--ledger-retention", invalid]).is_err());
        }
        Ok(())
    }

    #[test]
    fn without_publishers_everyone_may_write_to_every_space() -> TestResult {
        let space = CatalogGuid::new("a").map_err(|error| error.message)?;

        let open = consume_args(&[])?.publishers();
        let limited = consume_args(&["--publishers", r#"{"one": ["a"]}"#])?.publishers();

        assert!(open.allow(None, &space));
        assert!(limited.allow(Some("one"), &space));
        assert!(!limited.allow(None, &space));
        assert!(consume_args(&["--publishers", "one"]).is_err());
        Ok(())
    }

    #[test]
    fn a_login_is_read_from_its_url_and_decoded() -> TestResult {
        let url: Url = "postgres://a%20user:p%40ss@localhost/database".parse()?;

        let login = login("WORKER_DATABASE_URL", &url)?;

        assert_eq!(login.name, "a user");
        assert_eq!(login.password.expose_secret(), "p@ss");
        Ok(())
    }

    #[test]
    fn a_login_needs_a_password() -> TestResult {
        for url in [
            "postgres://user@localhost/d",
            "postgres://user:@localhost/d",
        ] {
            assert!(login("WORKER_DATABASE_URL", &url.parse::<Url>()?).is_err());
        }
        Ok(())
    }
}
