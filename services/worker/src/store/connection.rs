//! A single connection, which is opened when it is first needed.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::error::StoreError;

/// Deadline for a statement including its commit.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Deadline for opening a connection. The deadline of the statement starts afterwards. With a shorter one, a
/// busy machine would cancel each attempt shortly before it succeeds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A connection that is not in use. A statement takes it out. The connection is put back only if it is still
/// usable afterwards. If it failed, or if the statement was cancelled, dropping the connection closes it.
pub(super) type Idle = Option<PgConnection>;

/// Runs a statement. Opens a connection first if there is none.
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
