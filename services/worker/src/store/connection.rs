//! One connection, opened when it is needed.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::error::StoreError;

/// For a statement with its commit.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// For a new connection, beside the statement's own deadline: on a busy machine a short one would
/// give up each connection that was nearly there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A connection while nobody uses it. Whoever does takes it out and puts it back when all went
/// well; so one that failed, or was given up half way, is closed by being dropped.
pub(super) type Idle = Option<PgConnection>;

/// Runs a statement, and opens the connection before if there is none.
pub(super) async fn run_on<T>(
    idle: &mut Idle,
    options: &PgConnectOptions,
    deadline: Duration,
    statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
) -> Result<T, StoreError> {
    let mut connection = match idle.take() {
        Some(connection) => connection,
        None => timeout(CONNECT_DEADLINE, PgConnection::connect_with(options))
            .await
            .map_err(|_| StoreError::Deadline)??,
    };
    let result = timeout(deadline, statement(&mut connection))
        .await
        .map_err(|_| StoreError::Deadline)?
        .map_err(StoreError::from);
    if let Ok(_) | Err(StoreError::Race(_) | StoreError::Content(_) | StoreError::Locked(_)) =
        &result
    {
        *idle = Some(connection);
    }
    result
}
