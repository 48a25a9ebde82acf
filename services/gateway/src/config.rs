//! The gateway's configuration: flags, or environment variables of the same meaning; and secrets,
//! by the environment or from files alone.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{ArgGroup, Parser, Subcommand};
use lapin::uri::AMQPUri;
use reqwest::Url;
use runtime::logs::LogFormat;
use runtime::settings;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::{
    auth::{Fetching, KeySource, dev_token},
    commands::idempotency::CommandIds,
    graphql::document::DocumentArgs,
    http::Origin,
    limits::LimitArgs,
    server::ConnectionArgs,
};

/// A shared secret that is shorter can be guessed from a single token.
const SHORTEST_SECRET_BYTES: usize = 32;
const LONGEST_USER_BYTES: usize = 255;

const SECRETS: &str = "\
Traces go where OTEL_EXPORTER_OTLP_ENDPOINT says, by OTLP over HTTP; the other variables of
OpenTelemetry are read, too. Missing: nowhere.

Secrets, each as an environment variable of this name or in a file that NAME_FILE names:
  DATABASE_URL  Postgres, as postgres://user:password@host:port/database. Needs the rights of the
                role connector_details_gateway, and no more. While it is away, reads are refused
                and saves are still taken.
  AMQP_URL      RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS). While it is
                away, the gateway is not ready and saves are refused with SERVICE_UNAVAILABLE.
  JWT_SECRET    What HS256 tokens are signed with, at least 32 bytes. Whoever has it can make
                tokens for every Space. Exactly one of JWT_SECRET, JWKS_FILE and JWKS_URL is needed.
  IDEMPOTENCY_SECRET
                What the ids of commands are derived with from Space, subject and Idempotency-Key, at
                least 32 bytes, the same at all gateways. Not set: derived from JWT_SECRET; needed
                where there is none. Whoever has it can compute the ids of others' commands. When it
                changes, a repeat under a key from before counts as a new save.";

/// Serves the GraphQL API of connector details.
#[derive(Debug, Parser)]
#[command(version, about, after_help = SECRETS)]
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
    /// Ask the gateway that listens at LISTEN whether it is ready, and leave: for containers.
    Healthcheck,
}

/// What a token says.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The Space that the token is for.
    #[arg(long, value_name = "GUID")]
    pub space: String,

    /// How long it lives: 30s, 5m, 12h, 1d.
    #[arg(long, default_value = "5m", value_parser = settings::duration)]
    pub expires_in: Duration,

    /// Whom it stands for.
    #[arg(long, value_name = "NAME", default_value = "developer")]
    pub subject: String,
}

/// What serving needs. Nothing is required here, for the other commands need none of it.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("keys").args(["jwks_file", "jwks_url"]))]
pub struct ServeArgs {
    /// Say what is wrong with the configuration, all of it, and leave. Nothing is connected to.
    #[arg(long)]
    pub check_config: bool,

    /// Where to listen. A port that is taken: nothing starts.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Where /metrics is served, for Prometheus. Missing: nowhere. Never where clients reach it: it
    /// tells how much is saved, and how much waits.
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// How log lines look, on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,

    /// For developers: introspection, and GraphiQL at /, with a token for the published sample's
    /// Space where there is a JWT_SECRET. Whoever reaches it can save; so only on a loopback
    /// address.
    #[arg(long, env = "GATEWAY_DEV")]
    pub dev: bool,

    /// Where GraphiQL's files for browsers lie; with --dev. Missing: / says how to get them.
    #[arg(long, env = "GRAPHIQL_DIR", value_name = "DIR")]
    pub graphiql_dir: Option<PathBuf>,

    /// How long, after SIGTERM, new requests are still served while /health/ready says 503 already,
    /// such as 3s. Shorter than a load balancer takes to notice, its clients are refused a
    /// connection. Ctrl-C does not wait.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "3s", value_parser = settings::duration)]
    pub shutdown_delay: Duration,

    /// A JWKS file with the keys of RS256, ES256 or EdDSA tokens.
    #[arg(long, env = "JWKS_FILE")]
    jwks_file: Option<PathBuf>,

    /// The same, by HTTP. While it is away, the keys from before are used, for JWKS_MAX_AGE.
    #[arg(long, env = "JWKS_URL")]
    jwks_url: Option<Url>,

    /// How often the keys may be read again because a token names one that is not known. Shorter:
    /// anyone can make the gateway ask. Longer: a new key is refused for so long.
    #[arg(long, env = "JWKS_PAUSE", default_value = "1m", value_parser = settings::duration)]
    jwks_pause: Duration,

    /// How old the keys may get while their source is away; they are read again long before.
    /// Longer: a key that was withdrawn is accepted for so long. Shorter: an outage of the source
    /// locks everyone out.
    #[arg(long, env = "JWKS_MAX_AGE", default_value = "1d", value_parser = settings::duration)]
    jwks_max_age: Duration,

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

    /// The pages whose scripts may ask, by exact origin, separated by commas:
    /// https://app.example.com. Missing: none but the gateway's own.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,

    /// How large a request may be.
    #[command(flatten)]
    pub document: DocumentArgs,

    /// How many requests there may be.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// How many connections there may be.
    #[command(flatten)]
    pub connections: ConnectionArgs,
}

/// What has to be right before anything is started.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: AMQPUri,
    /// The database.
    pub database: PgConnectOptions,
    /// The one source of keys that was configured.
    pub keys: KeySource,
    /// When they are read again.
    pub fetching: Fetching,
    /// What commands are named by.
    pub ids: CommandIds,
}

impl ServeArgs {
    /// Checks everything that can be checked without asking anyone.
    ///
    /// # Errors
    /// All that is wrong, each naming its variable and showing no value.
    pub fn settings(&self) -> Result<Settings, Vec<anyhow::Error>> {
        let mut wrong = Vec::new();
        let broker = or_wrong(broker(), &mut wrong);
        let database = or_wrong(settings::parsed("DATABASE_URL"), &mut wrong);
        let keys = or_wrong(self.key_source(), &mut wrong);
        let ids = or_wrong(command_ids(), &mut wrong);
        or_wrong(self.limits(), &mut wrong);
        match (broker, database, keys, ids) {
            (Some(broker), Some(database), Some(keys), Some(ids)) if wrong.is_empty() => {
                Ok(Settings {
                    broker,
                    database,
                    keys,
                    ids,
                    fetching: Fetching {
                        pause: self.jwks_pause,
                        max_age: self.jwks_max_age,
                    },
                })
            }
            _ => Err(wrong),
        }
    }

    fn key_source(&self) -> anyhow::Result<KeySource> {
        let shared = settings::find("JWT_SECRET")?;
        let file = self.jwks_file.clone().map(KeySource::File);
        let jwks = file.or(self.jwks_url.clone().map(KeySource::Url));
        match (shared, jwks) {
            (Some(secret), None) => Ok(KeySource::Shared(long_enough("JWT_SECRET", secret)?)),
            (None, Some(jwks)) => Ok(jwks),
            (Some(_), Some(_)) => {
                anyhow::bail!("JWT_SECRET goes with neither JWKS_FILE nor JWKS_URL; set one")
            }
            (None, None) => anyhow::bail!(
                "none of JWT_SECRET, JWKS_FILE and JWKS_URL is set: no token can be checked"
            ),
        }
    }

    fn limits(&self) -> anyhow::Result<()> {
        ensure!(
            self.limits.saves_burst.get() >= self.document.max_saves,
            "SAVES_BURST must be at least MAX_SAVES: a document that is allowed could never be sent"
        );
        ensure!(
            self.connections.max_connections.get() > self.limits.max_subscriptions,
            "MAX_CONNECTIONS must be more than MAX_SUBSCRIPTIONS: subscriptions alone could take \
             every connection"
        );
        ensure!(
            !self.dev || self.listen.ip().is_loopback(),
            "--dev (GATEWAY_DEV) hands out tokens: LISTEN must be a loopback address"
        );
        Ok(())
    }
}

impl TokenArgs {
    /// Signs the token.
    ///
    /// # Errors
    /// JWT_SECRET is missing, or too short.
    pub fn sign(&self) -> anyhow::Result<String> {
        let secret = settings::find("JWT_SECRET")?.context("JWT_SECRET is not set")?;
        let secret = long_enough("JWT_SECRET", secret)?;
        let secret = secret.expose_secret();
        dev_token::sign(secret, &self.space, &self.subject, self.expires_in)
    }
}

fn or_wrong<T, E: Into<anyhow::Error>>(
    checked: Result<T, E>,
    wrong: &mut Vec<anyhow::Error>,
) -> Option<T> {
    checked.map_err(|error| wrong.push(error.into())).ok()
}

/// The user stands in a property of every command, which has 255 bytes.
fn broker() -> anyhow::Result<AMQPUri> {
    let broker: AMQPUri = settings::parsed("AMQP_URL")?;
    let user = &broker.authority.userinfo.username;
    ensure!(
        user.len() <= LONGEST_USER_BYTES,
        "AMQP_URL: the user's name is longer than {LONGEST_USER_BYTES} bytes"
    );
    Ok(broker)
}

/// Not a secret of each process's own: a repeat after a restart, or at another gateway, would count
/// as a new save.
fn command_ids() -> anyhow::Result<CommandIds> {
    if let Some(secret) = settings::find("IDEMPOTENCY_SECRET")? {
        return Ok(CommandIds::new(&long_enough("IDEMPOTENCY_SECRET", secret)?));
    }
    let jwt_secret = settings::find("JWT_SECRET")?;
    jwt_secret.as_ref().map(CommandIds::derived).context(
        "neither IDEMPOTENCY_SECRET nor JWT_SECRET is set: all gateways have to derive the ids of \
         commands from the same secret",
    )
}

fn long_enough(name: &str, secret: SecretString) -> anyhow::Result<SecretString> {
    ensure!(
        secret.expose_secret().len() >= SHORTEST_SECRET_BYTES,
        "{name} must be at least {SHORTEST_SECRET_BYTES} bytes"
    );
    Ok(secret)
}
