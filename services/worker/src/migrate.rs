//! The schema, and the logins of those who use it.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions,
};
use tokio::time::sleep;

/// The one way in which the schema is changed. Safe when several start at once: the migrator
/// holds a lock of the database.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Whose rights a login gets.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// May only select.
    Gateway,
    /// May not alter the schema, nor a decision.
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
/// The database does not answer, or a migration fails; each is applied whole or not at all.
pub async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let pool = sqlx::PgPool::connect_with(owner.clone()).await?;
    MIGRATIONS.run(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Makes sure that a login exists, with this password and the rights of this role.
///
/// Roles belong to all databases of a server. Whoever migrates another of them may change the
/// same role at this very moment, which Postgres answers with an error rather than a wait, so
/// this is tried a few times.
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
    // Utility statements take no parameters; the server quotes the names for itself.
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
