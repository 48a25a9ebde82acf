//! What is still to be announced.

use proto::{
    event::{ConnectorDetailsDeleted, ConnectorDetailsSaved, Event},
    ledger::{Decision, End, Entry},
};
use sqlx::PgConnection;

/// The lock of whoever announces. Any number that nobody else uses.
const LOCK: i64 = 0x636f_6e6e_6465;

/// An event that is not known to be announced.
#[derive(Debug)]
pub struct Unannounced {
    /// Its place in the order.
    pub seq: i64,
    /// None where the ledger has nothing to say any more.
    pub event: Option<Event>,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

/// Only one may announce at a time, or order would be lost. Held until it is given back, or the
/// connection ends; taking it again is counted.
///
/// Nor has this connection to wait for the disk: what is taken out of the outbox and comes back after
/// a crash is announced again.
pub(super) async fn lock(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_lock($1) and
               set_config('synchronous_commit', 'off', false) is not null as "locked!""#,
        LOCK
    )
    .fetch_one(connection)
    .await
}

/// However often it was taken.
pub(super) async fn unlock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query_scalar!("select pg_advisory_unlock_all()")
        .fetch_one(connection)
        .await
        .map(drop)
}

/// The oldest of them.
pub(super) async fn oldest(
    connection: &mut PgConnection,
    count: i64,
) -> sqlx::Result<Vec<Unannounced>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select
            o.seq, c.kind::text as "kind!", c.command_id, c.fingerprint, c.record_id, c.revision,
            c.catalog_guid, c.integration_pack_instance_id, c.process_id, c.env_id,
            c.connection_id, c.is_token_generated, c.oauth_connector_details, c.client_id,
            c.decided_at, c.updated_by, c.previous_updated_at, c.previous_updated_by,
            c.traceparent
        from (select * from connector_details_outbox order by seq limit $1) o
        cross join lateral (
            select * from connector_details_changes c
            where (c.catalog_guid, c.command_id) = (o.catalog_guid, o.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        order by o.seq
        "#,
        count,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Unannounced::from).collect())
}

pub(super) async fn announced(connection: &mut PgConnection, seqs: &[i64]) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from connector_details_outbox where seq = any ($1)",
        seqs
    )
    .execute(connection)
    .await
    .map(drop)
}

struct Row {
    seq: i64,
    kind: String,
    command_id: String,
    fingerprint: Vec<u8>,
    record_id: Option<sqlx::types::Uuid>,
    revision: i64,
    catalog_guid: String,
    integration_pack_instance_id: String,
    process_id: String,
    env_id: String,
    connection_id: String,
    is_token_generated: Option<bool>,
    oauth_connector_details: Option<String>,
    client_id: Option<String>,
    decided_at: sqlx::types::time::OffsetDateTime,
    updated_by: Option<String>,
    previous_updated_at: Option<sqlx::types::time::OffsetDateTime>,
    previous_updated_by: Option<String>,
    traceparent: Option<String>,
}

impl From<Row> for Unannounced {
    fn from(row: Row) -> Self {
        let (deleted_at, deleted_by) = (row.decided_at, row.updated_by.clone());
        let decision = Decision::from(Entry {
            kind: row.kind,
            command_id: row.command_id,
            fingerprint: row.fingerprint,
            record_id: row.record_id,
            revision: row.revision,
            catalog_guid: row.catalog_guid,
            integration_pack_instance_id: row.integration_pack_instance_id,
            process_id: row.process_id,
            env_id: row.env_id,
            connection_id: row.connection_id,
            is_token_generated: row.is_token_generated,
            oauth_connector_details: row.oauth_connector_details,
            client_id: row.client_id,
            decided_at: row.decided_at,
            updated_by: row.updated_by,
            previous_updated_at: row.previous_updated_at,
            previous_updated_by: row.previous_updated_by,
        });
        let command_id = decision.command_id;
        let event = match decision.end {
            End::Saved(record) => Some(Event::Saved(ConnectorDetailsSaved { command_id, record })),
            End::Deleted(Some(record)) => Some(Event::Deleted(ConnectorDetailsDeleted {
                command_id,
                record,
                deleted_at,
                deleted_by,
            })),
            End::Deleted(None) | End::Conflict(_) => None,
        };
        Self {
            seq: row.seq,
            event,
            traceparent: row.traceparent,
        }
    }
}
