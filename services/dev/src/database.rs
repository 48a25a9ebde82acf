//! The schema, and the logins of the services: each with the rights of its role and no others.

use anyhow::Context as _;
use reqwest::Url;
use sqlx::postgres::PgConnectOptions;
use worker::migrate::{self, Role};

/// How the services reach their database.
#[derive(Debug, Clone)]
pub struct Logins {
    /// May only select.
    pub gateway: String,
    /// May not alter the schema.
    pub worker: String,
}

/// Brings the schema up to date, and gives each service a login of its own.
///
/// # Errors
/// The database refuses: its owner needs the right to create roles.
pub async fn prepare(database_url: &str, password: &str) -> anyhow::Result<Logins> {
    let owner: PgConnectOptions = database_url.parse().context("DATABASE_URL")?;
    migrate::migrate(&owner).await.context("migrating")?;
    let login = async |role, name: &str| -> anyhow::Result<String> {
        migrate::login(&owner, role, name, password)
            .await
            .with_context(|| format!("the login {name} can't be made"))?;
        let mut url = Url::parse(database_url)?;
        let set = url.set_username(name).and(url.set_password(Some(password)));
        set.ok().context("DATABASE_URL has no host")?;
        Ok(url.into())
    };
    Ok(Logins {
        gateway: login(Role::Gateway, "connector_details_gateway_login").await?,
        worker: login(Role::Worker, "connector_details_worker_login").await?,
    })
}
