//! The outbox: references to committed changes whose events are not confirmed as published yet.
//!
//! Each statement that changes records inserts one row. The relay publishes the rows in the order of `seq`.

use proto::{
    event::{ConnectorDetailsDeleted, ConnectorDetailsSaved, Event},
    ledger::{LedgerEntry, LedgerOutcome, LedgerRow},
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The key of the relay's advisory lock. The number is arbitrary; no other advisory lock may use it.
const LOCK: i64 = 0x636f_6e6e_6465;
/// Approximate size of an event without its connector details.
const OVERHEAD_BYTES: usize = 2 * 1024;

/// An event with the trace context of its command.
#[derive(Debug)]
pub struct PendingEvent {
    /// The event to publish.
    pub event: Event,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

impl PendingEvent {
    /// `None` if the command changed no record: a conflict, or the deletion of a record that does not exist.
    fn of(
        entry: LedgerEntry,
        decided_at: OffsetDateTime,
        updated_by: Option<String>,
        traceparent: Option<String>,
    ) -> Option<Self> {
        let command_id = entry.command_id;
        let event = match entry.outcome {
            LedgerOutcome::Saved(record) => {
                Event::Saved(ConnectorDetailsSaved { command_id, record })
            }
            LedgerOutcome::Deleted(Some(record)) => Event::Deleted(ConnectorDetailsDeleted {
                command_id,
                record,
                deleted_at: decided_at,
                deleted_by: updated_by,
            }),
            LedgerOutcome::Deleted(None) | LedgerOutcome::Conflict(_) => return None,
        };
        Some(Self { event, traceparent })
    }
}

impl PendingEvent {
    /// Approximate size of the event, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.event.record().oauth_connector_details.len() + OVERHEAD_BYTES
    }
}

/// A row of the outbox with the events of the changes that one statement committed.
#[derive(Debug)]
pub struct OutboxRow {
    /// The sequence number of the row. Rows are published in this order.
    pub seq: i64,
    /// The events to publish.
    pub events: Vec<PendingEvent>,
}

impl OutboxRow {
    /// Approximate size of all events of the row, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.events.iter().map(PendingEvent::bytes).sum()
    }
}

/// Takes the lock of the relay, because two relays that publish at the same time would lose the order of the
/// events. The connection holds the lock until [`unlock`] or until it ends. It may take the lock repeatedly.
///
/// Also turns off `synchronous_commit` for this connection. A crash of the database may then undo the deletion
/// of a row, and the relay only publishes its events again.
pub(super) async fn lock(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_lock($1) and
               set_config('synchronous_commit', 'off', false) is not null as "locked!""#,
        LOCK
    )
    .fetch_one(connection)
    .await
}

/// Releases the lock, however often this connection has taken it.
pub(super) async fn unlock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query_scalar!("select pg_advisory_unlock_all()")
        .fetch_one(connection)
        .await
        .map(drop)
}

/// The oldest rows, with their events in the order of `seq`.
pub(super) async fn oldest(
    connection: &mut PgConnection,
    statements: i64,
) -> sqlx::Result<Vec<OutboxRow>> {
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
        cross join lateral unnest(o.catalog_guids, o.command_ids) as i (catalog_guid, command_id)
        cross join lateral (
            select * from connector_details_ledger c
            where (c.catalog_guid, c.command_id) = (i.catalog_guid, i.command_id)
            -- Keeps the planner from making a join of it: see `save`.
            offset 0
        ) c
        order by o.seq
        "#,
        statements,
    )
    .fetch_all(connection)
    .await?;
    let mut all: Vec<OutboxRow> = Vec::new();
    for row in rows {
        let seq = row.seq;
        if all.last().is_none_or(|last| last.seq != seq) {
            all.push(OutboxRow {
                seq,
                events: Vec::new(),
            });
        }
        if let Some(last) = all.last_mut() {
            last.events.extend(row.event()?);
        }
    }
    Ok(all)
}

/// Deletes rows after their events were published.
pub(super) async fn delete(connection: &mut PgConnection, seqs: &[i64]) -> sqlx::Result<()> {
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
    decided_at: OffsetDateTime,
    updated_by: Option<String>,
    previous_updated_at: Option<OffsetDateTime>,
    previous_updated_by: Option<String>,
    traceparent: Option<String>,
}

impl Row {
    fn event(self) -> sqlx::Result<Option<PendingEvent>> {
        let (decided_at, updated_by) = (self.decided_at, self.updated_by.clone());
        let entry = LedgerEntry::try_from(LedgerRow {
            kind: self.kind,
            command_id: self.command_id,
            fingerprint: self.fingerprint,
            record_id: self.record_id,
            revision: self.revision,
            catalog_guid: self.catalog_guid,
            integration_pack_instance_id: self.integration_pack_instance_id,
            process_id: self.process_id,
            env_id: self.env_id,
            connection_id: self.connection_id,
            is_token_generated: self.is_token_generated,
            oauth_connector_details: self.oauth_connector_details,
            client_id: self.client_id,
            decided_at: self.decided_at,
            updated_by: self.updated_by,
            previous_updated_at: self.previous_updated_at,
            previous_updated_by: self.previous_updated_by,
        });
        let entry = entry.map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(PendingEvent::of(
            entry,
            decided_at,
            updated_by,
            self.traceparent,
        ))
    }
}
