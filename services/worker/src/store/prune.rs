//! Deletes old entries of the ledger.

use std::time::Duration;

use sqlx::{PgConnection, postgres::types::PgInterval};

pub(super) async fn prune(
    connection: &mut PgConnection,
    older_than: Duration,
    at_most: u32,
) -> sqlx::Result<u64> {
    let older_than = PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX),
    };
    let at_most = i32::try_from(at_most).unwrap_or(i32::MAX);
    let pruned = sqlx::query_scalar!(
        r#"select connector_details_prune($1, $2) as "pruned!""#,
        older_than,
        at_most
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(pruned).unwrap_or_default())
}
