//! The gateway's configuration. Each setting is a flag or an environment variable. Secrets are not
//! flags: they come from environment variables or files only.

mod args;

use anyhow::{Context as _, ensure};
use lapin::uri::AMQPUri;
use runtime::settings;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

pub use self::args::{Command, Config, ServeArgs, TokenArgs};
use crate::{
    auth::{Fetching, KeySource, dev_token},
    commands::idempotency::CommandIds,
};

/// A shorter shared secret can be found by brute force from a single token.
const MIN_SECRET_BYTES: usize = 32;
/// The limit of an AMQP short string.
const MAX_USER_BYTES: usize = 255;

/// The settings that are validated before anything is started.
#[derive(Debug)]
pub struct Settings {
    /// The broker.
    pub broker: AMQPUri,
    /// The database.
    pub database: PgConnectOptions,
    /// The source of the keys that verify tokens.
    pub keys: KeySource,
    /// When the keys are read again.
    pub fetching: Fetching,
    /// Creates the ids of commands.
    pub ids: CommandIds,
}

impl ServeArgs {
    /// Checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// All errors at once. Each names its variable and never shows the value.
    pub fn settings(&self) -> Result<Settings, Vec<anyhow::Error>> {
        let mut errors = Vec::new();
        let broker = or_collect(broker(), &mut errors);
        let database = or_collect(settings::parsed("DATABASE_URL"), &mut errors);
        let keys = or_collect(self.key_source(), &mut errors);
        let ids = or_collect(command_ids(), &mut errors);
        or_collect(self.limits(), &mut errors);
        match (broker, database, keys, ids) {
            (Some(broker), Some(database), Some(keys), Some(ids)) if errors.is_empty() => {
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
            _ => Err(errors),
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
                anyhow::bail!(
                    "JWT_SECRET can't be combined with JWKS_FILE or JWKS_URL; set only one"
                )
            }
            (None, None) => anyhow::bail!(
                "none of JWT_SECRET, JWKS_FILE and JWKS_URL is set: no token can be verified"
            ),
        }
    }

    fn limits(&self) -> anyhow::Result<()> {
        ensure!(
            self.limits.saves_burst.get() >= self.document.max_saves,
            "SAVES_BURST must be at least MAX_SAVES, or a document with MAX_SAVES saves could never be sent"
        );
        ensure!(
            self.connections.max_connections.get() > self.limits.max_subscriptions,
            "MAX_CONNECTIONS must be more than MAX_SUBSCRIPTIONS, or subscriptions could use all \
             connections"
        );
        ensure!(
            !self.dev || self.listen.ip().is_loopback(),
            "--dev (GATEWAY_DEV) serves tokens to everyone: LISTEN must be a loopback address"
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

fn or_collect<T, E: Into<anyhow::Error>>(
    checked: Result<T, E>,
    errors: &mut Vec<anyhow::Error>,
) -> Option<T> {
    checked.map_err(|error| errors.push(error.into())).ok()
}

/// The URI of the broker. The user name is sent in the `user_id` property of every command, which is
/// limited to 255 bytes.
fn broker() -> anyhow::Result<AMQPUri> {
    let broker: AMQPUri = settings::parsed("AMQP_URL")?;
    let user = &broker.authority.userinfo.username;
    ensure!(
        user.len() <= MAX_USER_BYTES,
        "AMQP_URL: the user's name is longer than {MAX_USER_BYTES} bytes"
    );
    Ok(broker)
}

/// All gateways must derive ids from the same secret. With a secret per process, a retry after a restart
/// or at another gateway would count as a new save.
fn command_ids() -> anyhow::Result<CommandIds> {
    if let Some(secret) = settings::find("IDEMPOTENCY_SECRET")? {
        return Ok(CommandIds::new(&long_enough("IDEMPOTENCY_SECRET", secret)?));
    }
    let jwt_secret = settings::find("JWT_SECRET")?;
    jwt_secret.as_ref().map(CommandIds::derived).context(
        "neither IDEMPOTENCY_SECRET nor JWT_SECRET is set: all gateways must derive command ids from \
         the same secret",
    )
}

fn long_enough(name: &str, secret: SecretString) -> anyhow::Result<SecretString> {
    ensure!(
        secret.expose_secret().len() >= MIN_SECRET_BYTES,
        "{name} must be at least {MIN_SECRET_BYTES} bytes"
    );
    Ok(secret)
}
