//! The gateway's configuration: flags, or environment variables of the same meaning.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Parser, Subcommand};
use lapin::uri::AMQPUri;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::{auth::KeySource, token};

/// A shared secret that is shorter can be guessed from a single token.
const SHORTEST_SECRET_BYTES: usize = 32;

/// Serves the GraphQL API of connector details.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// What to do; without a command: serve.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the gateway can do besides serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the GraphQL schema (SDL) and leave.
    Schema,
    /// Print a token, signed with JWT_SECRET, and leave. For development.
    Token(TokenArgs),
}

/// What a token says.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The secret that the gateway has too.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    jwt_secret: SecretString,

    /// The Space that the token is for.
    #[arg(long, value_name = "GUID")]
    pub space: String,

    /// How long it lives: 30s, 5m, 12h, 1d.
    #[arg(long, default_value = "5m", value_parser = token::duration)]
    pub expires_in: Duration,

    /// Whom it stands for.
    #[arg(long, value_name = "NAME", default_value = "developer")]
    pub subject: String,
}

/// What serving needs. Nothing is required here, for the other commands need none of it.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("keys").args(["jwt_secret", "jwks_file", "jwks_url"]))]
pub struct ServeArgs {
    /// Where to listen. A port that is taken: nothing starts.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// How long, after SIGTERM, new requests are still served while /health/ready says 503 already,
    /// such as 3s. Shorter than a load balancer takes to notice, its clients are refused a
    /// connection. Ctrl-C does not wait.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "3s", value_parser = token::duration)]
    pub shutdown_delay: Duration,

    /// RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS). While it is away, the
    /// gateway is not ready and saves are refused with SERVICE_UNAVAILABLE.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    amqp_url: Option<SecretString>,

    /// Postgres, as postgres://user:password@host:port/database. Needs the rights of the role
    /// connector_details_gateway, and no more. While it is away, reads are refused and saves are
    /// still taken.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,

    /// The secret that HS256 tokens are signed with, at least 32 bytes. Whoever has it can make
    /// tokens for every Space. Exactly one of the three sources of keys is needed.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<SecretString>,

    /// A JWKS file with the keys of RS256, ES256 or EdDSA tokens. Read again, at most once a
    /// minute, when a token names a key that is not in it.
    #[arg(long, env = "JWKS_FILE")]
    jwks_file: Option<PathBuf>,

    /// The same, by HTTP. While it is away, the keys from before are used.
    #[arg(long, env = "JWKS_URL")]
    jwks_url: Option<Url>,

    /// The issuer that tokens must name. Missing: any issuer that has a key.
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,

    /// The audience that tokens must name. Missing: a token made for another service of the same
    /// issuer is accepted.
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// The claim that lists the bearer's Spaces.
    #[arg(long, env = "JWT_SPACES_CLAIM", default_value = "spaces")]
    pub jwt_spaces_claim: String,
}

impl ServeArgs {
    /// The broker.
    ///
    /// # Errors
    /// Not set, or malformed.
    pub fn broker(&self) -> anyhow::Result<AMQPUri> {
        parsed("AMQP_URL", self.amqp_url.as_ref())
    }

    /// The database.
    ///
    /// # Errors
    /// Not set, or malformed.
    pub fn database(&self) -> anyhow::Result<PgConnectOptions> {
        parsed("DATABASE_URL", self.database_url.as_ref())
    }

    /// The one source of keys that was configured.
    ///
    /// # Errors
    /// There is none, or the shared secret is too short.
    pub fn key_source(&self) -> anyhow::Result<KeySource> {
        if let Some(secret) = &self.jwt_secret {
            return Ok(KeySource::Shared(shared_secret(secret)?));
        }
        let file = self.jwks_file.clone().map(KeySource::File);
        let url = self.jwks_url.clone().map(KeySource::Url);
        file.or(url)
            .context("none of JWT_SECRET, JWKS_FILE and JWKS_URL is set: no token can be checked")
    }
}

impl TokenArgs {
    /// Signs the token.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn sign(&self) -> anyhow::Result<String> {
        let secret = shared_secret(&self.jwt_secret)?;
        let secret = secret.expose_secret();
        token::sign(secret, &self.space, &self.subject, self.expires_in)
    }
}

fn shared_secret(secret: &SecretString) -> anyhow::Result<SecretString> {
    ensure!(
        secret.expose_secret().len() >= SHORTEST_SECRET_BYTES,
        "JWT_SECRET must be at least {SHORTEST_SECRET_BYTES} bytes"
    );
    Ok(secret.clone())
}

/// Reads a setting that may hold a password. clap would print what it can't parse, so this is done
/// by hand, and the error names the variable alone.
fn parsed<T: FromStr>(variable: &str, value: Option<&SecretString>) -> anyhow::Result<T> {
    let value = value.with_context(|| format!("{variable} is not set"))?;
    let parsed = value.expose_secret().parse().ok();
    parsed.with_context(|| format!("{variable} is malformed: see --help for its form"))
}
