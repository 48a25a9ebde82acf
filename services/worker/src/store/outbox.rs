//! What is committed and still to be announced.
//!
//! Each statement leaves a row in the outbox. Those that save, which nearly all do, tell of it by a
//! channel, too: whoever announces goes by that while no row is missing, and by the outbox otherwise.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use proto::{
    event::{ConnectorDetailsDeleted, ConnectorDetailsSaved, Event},
    ledger::{Decision, End, Entry},
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc};

use crate::byte_budget::{Budget, Share};

/// The lock of whoever announces. Any number that nobody else uses.
const LOCK: i64 = 0x636f_6e6e_6465;
/// Statements whose changes may wait in memory. More than that are read from the outbox again.
const WAITING: usize = 32;
/// And bytes of them.
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// What a change takes beside its details, roughly.
const OVERHEAD: usize = 2 * 1024;

/// An event with the trace of its command.
#[derive(Debug)]
pub struct Announcement {
    /// What happened.
    pub event: Event,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

impl Announcement {
    /// None where nothing happened to a record.
    pub(super) fn of(
        command_id: &str,
        end: &End,
        decided_at: OffsetDateTime,
        updated_by: Option<&str>,
        traceparent: Option<&str>,
    ) -> Option<Self> {
        let command_id = command_id.to_owned();
        let event = match end.clone() {
            End::Saved(record) => Event::Saved(ConnectorDetailsSaved { command_id, record }),
            End::Deleted(Some(record)) => Event::Deleted(ConnectorDetailsDeleted {
                command_id,
                record,
                deleted_at: decided_at,
                deleted_by: updated_by.map(ToOwned::to_owned),
            }),
            End::Deleted(None) | End::Conflict(_) => return None,
        };
        Some(Self {
            event,
            traceparent: traceparent.map(ToOwned::to_owned),
        })
    }
}

impl Announcement {
    /// How many bytes it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.event.record().oauth_connector_details.len() + OVERHEAD
    }
}

/// What one statement committed.
#[derive(Debug)]
pub struct Committed {
    /// Its row in the outbox, and its place in the order.
    pub seq: i64,
    /// What is to be announced.
    pub announcements: Vec<Announcement>,
    /// Its part of what may wait in memory. Of what is read from the outbox, none.
    share: Option<Share>,
}

impl Committed {
    pub(super) fn new(seq: i64, announcements: Vec<Announcement>) -> Self {
        Self {
            seq,
            announcements,
            share: None,
        }
    }

    /// How many bytes it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.announcements.iter().map(Announcement::bytes).sum()
    }
}

/// Where the store tells of what it committed.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    committed: mpsc::Sender<Committed>,
    bytes: Arc<Budget>,
    more: Arc<More>,
}

/// Where whoever announces hears of it.
#[derive(Debug)]
pub struct News {
    /// What is committed; but for what did not come by the channel.
    pub committed: mpsc::Receiver<Committed>,
    more: Arc<More>,
}

/// Whether the outbox has more than is told.
#[derive(Debug, Default)]
struct More {
    /// Set before anything that follows is told.
    is_there: AtomicBool,
    wake: Notify,
}

pub(super) fn channel() -> (Teller, News) {
    let (sender, committed) = mpsc::channel(WAITING);
    let more = Arc::<More>::default();
    let teller = Teller {
        committed: sender,
        bytes: Budget::new(WAITING_BYTES),
        more: more.clone(),
    };
    (teller, News { committed, more })
}

impl Teller {
    /// Never waits: what there is no room for stands in the outbox.
    pub fn tell(&self, mut committed: Committed) {
        committed.share = self.bytes.take(committed.bytes());
        if committed.share.is_none() || self.committed.try_send(committed).is_err() {
            self.tell_of_more();
        }
    }

    /// The outbox has more than is told.
    pub fn tell_of_more(&self) {
        self.more.is_there.store(true, Ordering::Release);
        self.more.wake.notify_one();
    }
}

impl News {
    /// Ends when there is something to do, with the news, if that is what it is.
    pub async fn next(&mut self) -> Option<Committed> {
        tokio::select! {
            committed = self.committed.recv() => committed,
            () = self.more.wake.notified() => None,
        }
    }

    /// Whether the outbox has more, since this was last asked. To be asked after news are heard and
    /// before they are announced, or what came before them would be announced behind them.
    #[must_use]
    pub fn take_more(&self) -> bool {
        self.more.is_there.swap(false, Ordering::AcqRel)
    }
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

/// What the oldest statements committed.
pub(super) async fn oldest(
    connection: &mut PgConnection,
    statements: i64,
) -> sqlx::Result<Vec<Committed>> {
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
        cross join lateral unnest(
            -- A worker of the version before leaves a row for each change.
            coalesce(o.catalog_guids, array[o.catalog_guid]),
            coalesce(o.command_ids, array[o.command_id])
        ) as i (catalog_guid, command_id)
        cross join lateral (
            select * from connector_details_changes c
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
    let mut all: Vec<Committed> = Vec::new();
    for row in rows {
        let seq = row.seq;
        if all.last().is_none_or(|last| last.seq != seq) {
            all.push(Committed::new(seq, Vec::new()));
        }
        if let Some(last) = all.last_mut() {
            last.announcements.extend(row.announcement());
        }
    }
    Ok(all)
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
    decided_at: OffsetDateTime,
    updated_by: Option<String>,
    previous_updated_at: Option<OffsetDateTime>,
    previous_updated_by: Option<String>,
    traceparent: Option<String>,
}

impl Row {
    fn announcement(self) -> Option<Announcement> {
        let (decided_at, updated_by) = (self.decided_at, self.updated_by.clone());
        let decision = Decision::from(Entry {
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
        Announcement::of(
            &decision.command_id,
            &decision.end,
            decided_at,
            updated_by.as_deref(),
            self.traceparent.as_deref(),
        )
    }
}
