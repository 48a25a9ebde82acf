//! The schema, and one login for each service, with the rights of its role only.

use std::path::Path;

use anyhow::Context as _;
use reqwest::Url;
use sqlx::{migrate::MigrateError, postgres::PgConnectOptions};
use worker::migrate::{self, Role};

/// The services' database URLs.
#[derive(Debug, Clone)]
pub struct Logins {
    /// The gateway's login may only select.
    pub gateway: String,
    /// The worker's login may not alter the schema.
    pub worker: String,
}

/// Brings the schema up to date, and creates a login for each service.
///
/// # Errors
/// A migration fails, or the owner may not create roles.
pub async fn prepare(database_url: &str, password: &str) -> anyhow::Result<Logins> {
    let owner: PgConnectOptions = database_url.parse().context("DATABASE_URL")?;
    migrate::migrate(&owner).await.context("migrating")?;
    let login = async |role, name: &str| -> anyhow::Result<String> {
        migrate::login(&owner, role, name, password)
            .await
            .with_context(|| format!("the login {name} can't be created"))?;
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

/// Explains an error of [`prepare`] if the database has migrations that this version does not have,
/// or has in another form. `data` is the stack's own data; `None` for an external server.
#[must_use]
pub fn explain(error: anyhow::Error, data: Option<&Path>) -> anyhow::Error {
    let is_another_schema = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref::<MigrateError>(),
            Some(MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_))
        )
    });
    if !is_another_schema {
        return error;
    }
    error.context(match data {
        Some(data) => format!(
            "the data in {data} belongs to another version of the schema, which this version can't \
             migrate. Export what you need with the version that wrote it (git switch to it, then \
             cargo dev and pg_dump). To start with an empty database, run:\n\n    \
             rm -rf {data}\n\n",
            data = data.display()
        ),
        None => {
            "the database of DATABASE_URL belongs to another version of the schema, which this \
                 version can't migrate: use the version that wrote it, or an empty database"
                .to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_schema_is_explained_with_the_command_that_removes_it() {
        let data = Path::new("/checkout/.dev/data");
        for error in [
            MigrateError::VersionMissing(1),
            MigrateError::VersionMismatch(1),
        ] {
            let error = anyhow::Error::from(error).context("migrating");
            let text = format!("{:#}", explain(error, Some(data)));
            assert!(text.contains("rm -rf /checkout/.dev/data\n"), "{text}");
        }
    }

    #[test]
    fn another_migration_error_is_left_as_it_is() {
        let error = anyhow::Error::from(MigrateError::Dirty(1));
        let text = format!("{:#}", explain(error, None));
        assert!(
            text.starts_with("migration 1 is partially applied"),
            "{text}"
        );
    }
}
