//! The command line: commands, flags and their environment variables.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgGroup, Parser, Subcommand};
use reqwest::Url;
use runtime::{logs::LogFormat, settings};

use crate::{
    graphql::document::DocumentArgs, http::Origin, limits::LimitArgs, server::ConnectionArgs,
};

const SECRETS: &str = "\
Traces are exported with OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT. The other variables of
OpenTelemetry apply, too. Not set: no traces are exported.

Secrets, each in the environment variable of this name, or in a file whose path is in NAME_FILE:
  DATABASE_URL  Postgres, as postgres://user:password@host:port/database. The user needs the
                privileges of the role connector_details_gateway only. While the database is not
                available, reads fail and saves are still accepted.
  AMQP_URL      RabbitMQ, as amqp://user:password@host:port/vhost (amqps for TLS). While the broker
                is not available, the gateway is not ready and saves fail with SERVICE_UNAVAILABLE.
  JWT_SECRET    The secret of HS256 tokens, at least 32 bytes. With this secret one can create tokens
                for every Space. Exactly one of JWT_SECRET, JWKS_FILE and JWKS_URL is required.
  IDEMPOTENCY_SECRET
                The key that derives command ids from Space, subject and Idempotency-Key: at least
                32 bytes, the same for all gateways. Not set: derived from JWT_SECRET; required if
                JWT_SECRET is not set. With this secret one can compute the ids of other clients'
                commands. If it changes, a repeated Idempotency-Key counts as a new save.";

/// Serves the GraphQL API of connector details.
#[derive(Debug, Parser)]
#[command(version, about, after_help = SECRETS)]
pub struct Config {
    /// The command to run. Without a command the gateway serves the API.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The settings of the server.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The commands besides serving the API.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the GraphQL schema (SDL) and exit.
    Schema,
    /// Print a token that is signed with JWT_SECRET, and exit. For development.
    Token(TokenArgs),
    /// Check whether the gateway at LISTEN is ready, and exit. For container health checks.
    Healthcheck,
}

/// The claims of a token.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The Space that the token is for.
    #[arg(long, value_name = "GUID")]
    pub space: String,

    /// The time until the token expires: 30s, 5m, 12h, 1d.
    #[arg(long, default_value = "5m", value_parser = settings::duration)]
    pub expires_in: Duration,

    /// The subject of the token.
    #[arg(long, value_name = "NAME", default_value = "developer")]
    pub subject: String,
}

/// The settings of the server. None is required here, because the other commands do not need them.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("keys").args(["jwks_file", "jwks_url"]))]
pub struct ServeArgs {
    /// Report all errors in the configuration and exit, without connecting to anything.
    #[arg(long)]
    pub check_config: bool,

    /// The address to listen on. If the port is in use, the gateway does not start.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The address of /metrics for Prometheus. Not set: no metrics are served. Clients must not be able
    /// to reach this address: the metrics show how many saves are made and how many wait.
    #[arg(long, env = "METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,

    /// The format of the log lines on standard error.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,

    /// Development mode: introspection, and GraphiQL at /. With JWT_SECRET, GraphiQL has a token for
    /// the Space of the published sample, so everyone who can open the page can save. It is therefore
    /// allowed on a loopback address only.
    #[arg(long, env = "GATEWAY_DEV")]
    pub dev: bool,

    /// The directory with GraphiQL's browser files, for --dev. Not set: the page at / says how to get
    /// them.
    #[arg(long, env = "GRAPHIQL_DIR", value_name = "DIR")]
    pub graphiql_dir: Option<PathBuf>,

    /// How long new requests are still served after SIGTERM, while /health/ready already answers 503,
    /// such as 3s. If it is shorter than the load balancer's check interval, clients can't connect
    /// for a moment. Ctrl-C does not wait.
    #[arg(long, env = "SHUTDOWN_DELAY", default_value = "3s", value_parser = settings::duration)]
    pub shutdown_delay: Duration,

    /// A JWKS file with the keys of RS256, ES256 or EdDSA tokens.
    #[arg(long, env = "JWKS_FILE")]
    pub(super) jwks_file: Option<PathBuf>,

    /// The URL of a JWKS. While it is not available, the keys that were read last are used, for
    /// JWKS_MAX_AGE.
    #[arg(long, env = "JWKS_URL")]
    pub(super) jwks_url: Option<Url>,

    /// The minimum time between two reads of the keys that tokens with an unknown key cause. Shorter:
    /// anyone can make the gateway send many requests to JWKS_URL. Longer: tokens with a new key are
    /// rejected for up to this time.
    #[arg(long, env = "JWKS_PAUSE", default_value = "1m", value_parser = settings::duration)]
    pub(super) jwks_pause: Duration,

    /// How long the keys are used while their source is not available. Longer: a revoked key is
    /// accepted for up to this time. Shorter: after a short outage of the source all tokens are
    /// rejected.
    #[arg(long, env = "JWKS_MAX_AGE", default_value = "1d", value_parser = settings::duration)]
    pub(super) jwks_max_age: Duration,

    /// The issuer that tokens must have. Not set: the issuer is not checked.
    #[arg(long, env = "JWT_ISSUER")]
    pub jwt_issuer: Option<String>,

    /// The audience that tokens must have. Not set: tokens that the issuer made for other services are
    /// accepted.
    #[arg(long, env = "JWT_AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// The claim with the list of the token's Spaces.
    #[arg(long, env = "JWT_SPACES_CLAIM", default_value = "spaces")]
    pub jwt_spaces_claim: String,

    /// The exact origins of web pages whose scripts may send requests, separated by commas:
    /// https://app.example.com. Not set: only the gateway's own pages.
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<Origin>,

    /// The limits of a request.
    #[command(flatten)]
    pub document: DocumentArgs,

    /// The limits of a subject.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// The limits of connections.
    #[command(flatten)]
    pub connections: ConnectionArgs,
}
