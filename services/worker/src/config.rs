//! The worker's configuration: flags, or environment variables of the same meaning.

use std::{net::SocketAddr, str::FromStr};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use lapin::uri::AMQPUri;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::{publishers::Publishers, replay::ReplayArgs, schema::Role};

/// Stores the connector details that others publish.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// Postgres, as postgres://user:password@host:port/database. Needs the rights of the role
    /// connector_details_worker; to migrate, those of the owner. Without it nothing starts.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

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
    Migrate(MigrateArgs),
    /// Send parked commands again, once their reason is gone. Each keeps its id: what was applied
    /// already changes nothing.
    Replay(ReplayArgs),
}

/// The logins that migrating makes sure of, each with the rights of its service and no others.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// The gateway's login, as the URL that the gateway is going to use. Missing: make it yourself,
    /// in the role connector_details_gateway.
    #[arg(long, env = "GATEWAY_DATABASE_URL", hide_env_values = true)]
    gateway_database_url: Option<SecretString>,

    /// The worker's login, as the URL that the worker is going to use. Missing: make it yourself,
    /// in the role connector_details_worker.
    #[arg(long, env = "WORKER_DATABASE_URL", hide_env_values = true)]
    worker_database_url: Option<SecretString>,
}

/// What consuming needs.
#[derive(Debug, clap::Args)]
pub struct ConsumeArgs {
    /// RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS). Missing: nothing starts.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    amqp_url: Option<SecretString>,

    /// Where /health/live and /health/ready answer. A port that is taken: nothing starts.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,

    /// Which broker user may write which Spaces, as JSON: {"gateway": ["*"], "billing": ["GUID"]}.
    /// Where it is set, a command without an allowed user_id is refused and parked. Missing:
    /// whoever the broker lets publish may write to every Space.
    #[arg(long, env = "PUBLISHERS")]
    publishers: Option<Publishers>,
}

/// A login as a URL names it.
#[derive(Debug)]
pub struct Login {
    /// The user.
    pub name: String,
    /// The password.
    pub password: SecretString,
}

impl Config {
    /// The database.
    ///
    /// # Errors
    /// Not set, or malformed.
    pub fn database(&self) -> anyhow::Result<PgConnectOptions> {
        parsed("DATABASE_URL", self.database_url.as_ref())
    }
}

impl ConsumeArgs {
    /// The broker.
    ///
    /// # Errors
    /// Not set, or malformed.
    pub fn broker(&self) -> anyhow::Result<AMQPUri> {
        parsed("AMQP_URL", self.amqp_url.as_ref())
    }

    /// Who may write what.
    #[must_use]
    pub fn publishers(&self) -> Publishers {
        self.publishers.clone().unwrap_or_default()
    }
}

impl MigrateArgs {
    /// The logins that were asked for.
    ///
    /// # Errors
    /// A URL is malformed, or holds no password.
    pub fn logins(&self) -> anyhow::Result<Vec<(Role, Login)>> {
        [
            (
                Role::Gateway,
                "GATEWAY_DATABASE_URL",
                &self.gateway_database_url,
            ),
            (
                Role::Worker,
                "WORKER_DATABASE_URL",
                &self.worker_database_url,
            ),
        ]
        .into_iter()
        .filter(|(_, _, url)| url.is_some())
        .map(|(role, variable, url)| Ok((role, login(variable, url.as_ref())?)))
        .collect()
    }
}

fn login(variable: &str, url: Option<&SecretString>) -> anyhow::Result<Login> {
    let url: Url = parsed(variable, url)?;
    let decoded = |part| percent_decode_str(part).decode_utf8();
    let name = decoded(url.username())?.into_owned();
    let password = decoded(url.password().unwrap_or_default())?;
    ensure!(!password.is_empty(), "{variable} holds no password");
    Ok(Login {
        name,
        password: password.as_ref().into(),
    })
}

/// Reads a setting that may hold a password. clap would print what it can't parse, so this is done
/// by hand, and the error names the variable alone.
fn parsed<T: FromStr>(variable: &str, value: Option<&SecretString>) -> anyhow::Result<T> {
    let value = value.with_context(|| format!("{variable} is not set"))?;
    let parsed = value.expose_secret().parse().ok();
    parsed.with_context(|| format!("{variable} is malformed: see --help for its form"))
}
