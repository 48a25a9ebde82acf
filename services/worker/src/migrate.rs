//! The schema's migrations, and the logins of the services.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions,
};
use tokio::time::sleep;

/// Safe to run several times at once: the migrator holds an advisory lock of the database.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// How often to try to change a role, and the pause after the first attempt; later pauses are longer.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// The role whose rights a login gets.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// May only read.
    Gateway,
    /// May read and write. May not alter the schema, and may not change entries of the ledger.
    Worker,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "connector_details_gateway",
            Self::Worker => "connector_details_worker",
        }
    }
}

/// Brings the schema up to date.
///
/// # Errors
/// The database does not respond, or a migration fails. Each migration runs in a transaction.
pub async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let pool = sqlx::PgPool::connect_with(owner.clone()).await?;
    MIGRATIONS.run(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Creates a login or updates it, with this password and the rights of this role.
///
/// All databases of a server share their roles. If another database of the server is migrated at the same
/// time, both may change the same role, and Postgres fails one of them instead of letting it wait. So a
/// failure is retried a few times.
///
/// # Errors
/// The owner may not create roles.
pub async fn login(
    owner: &PgConnectOptions,
    role: Role,
    name: &str,
    password: &str,
) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(owner).await?;
    // Utility statements accept no parameters, so the server builds the statement and quotes the names.
    let statement: String = sqlx::query_scalar(
        "select format(
             'do $do$ begin
                  create role %1$I login;
              exception when duplicate_object or unique_violation then null;
              end $do$;
              alter role %1$I login password %2$L;
              grant %3$I to %1$I',
             $1, $2, $3)",
    )
    .bind(name)
    .bind(password)
    .bind(role.name())
    .fetch_one(&mut connection)
    .await?;
    let mut attempt = 1;
    while let Err(error) = connection.execute(AssertSqlSafe(statement.as_str())).await {
        if attempt == ATTEMPTS {
            return Err(error);
        }
        sleep(PAUSE * attempt).await;
        attempt += 1;
    }
    Ok(())
}
