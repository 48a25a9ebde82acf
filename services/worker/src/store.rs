//! The database: all SQL of the worker except for the migrations. A batch of commands is stored by as few
//! statements as possible, each of which is one commit.

mod change;
mod connection;
mod error;
mod heartbeat;
mod input;
mod last_change;
mod ledger;
mod locked;
mod outbox;
mod prune;
mod redelivered;
mod rehearsal;
mod save;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proto::{CommandId, RecordKey};
use sqlx::{PgConnection, postgres::PgConnectOptions};
use tokio::sync::{Mutex, Notify};

pub(crate) use self::writer::Outcomes;
pub use self::{
    error::StoreError,
    last_change::LastChange,
    outbox::{OutboxRow, PendingEvent},
    redelivered::{Redelivery, UndecidedCommand},
    writer::Writer,
};

use self::{
    connection::{DEADLINE, Idle, run_on},
    heartbeat::Identity,
};
use crate::change::Change;

/// The longest time for a statement on the server. The client's deadline is a little longer.
const STATEMENT_TIMEOUT: &str = "8s";
/// How long a batch waits for a locked record before the commands for that record are retried separately. If
/// it is too short, the only cost is a retry.
const LOCK_TIMEOUT: &str = "300ms";
/// A database that needs longer for one small commit counts as unavailable.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(3);

/// The worker's database: a few connections, each for one purpose, and no pool.
///
/// sqlx's pool pings each connection that is returned to it, without a deadline. If the network loses packets,
/// the ping never ends, and the pool loses one of its slots forever.
#[derive(Debug, Clone)]
pub struct Store {
    options: Arc<PgConnectOptions>,
    heartbeat: Arc<Slot>,
    /// For statements that change nothing: rehearsals, and the query for a record's last change.
    checks: Arc<Slot>,
    /// For the order of redelivered commands.
    redelivered: Arc<Slot>,
    /// Holds the advisory lock of the outbox relay.
    outbox: Arc<Slot>,
    pruning: Arc<Slot>,
    identity: Arc<Identity>,
    /// Whether a batch was stored since the last heartbeat.
    has_decided: Arc<AtomicBool>,
    /// Notified when a statement may have written to the outbox.
    outbox_written: Arc<Notify>,
}

type Slot = Mutex<Idle>;

impl Store {
    /// Opens no connection. Each connection is opened when it is first needed.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("connector-details-worker")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", LOCK_TIMEOUT),
                // Plan each statement once. Planning it for each batch takes longer than storing one command.
                ("plan_cache_mode", "force_generic_plan"),
                // A generic plan knows neither the size of the batch nor that of the table. So exclude plans
                // that are only good for a few rows.
                ("enable_seqscan", "off"),
                ("enable_nestloop", "off"),
                // If there is no other plan than an excluded one, its estimated cost is so high that Postgres
                // would compile the statement, which takes half a second.
                ("jit", "off"),
            ]);
        Self {
            options: Arc::new(options),
            heartbeat: Arc::default(),
            checks: Arc::default(),
            redelivered: Arc::default(),
            outbox: Arc::default(),
            pruning: Arc::default(),
            identity: Arc::new(Identity::of_process()),
            has_decided: Arc::default(),
            outbox_written: Arc::default(),
        }
    }

    /// The connection for storing batches, opened when it is needed.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer::new(
            self.options.clone(),
            self.outbox_written.clone(),
            self.has_decided.clone(),
        )
    }

    /// Writes this worker's heartbeat row. This shows that the database responds, has the schema and accepts
    /// writes.
    ///
    /// # Errors
    /// [`StoreError::Transient`], [`StoreError::Locked`] or [`StoreError::Deadline`].
    pub async fn heartbeat(&self) -> Result<(), StoreError> {
        let has_decided = self.has_decided.swap(false, Ordering::Relaxed);
        let write = async |connection: &mut PgConnection| {
            heartbeat::write(connection, &self.identity, has_decided).await
        };
        let written = self.run(&self.heartbeat, HEARTBEAT_DEADLINE, write).await;
        if written.is_err() {
            self.has_decided.fetch_or(has_decided, Ordering::Relaxed);
        }
        written
    }

    /// Checks whether the database accepts these changes, which must name no record and no command id twice.
    /// Their statements run and are rolled back. If the disk of one table is full, or one privilege is
    /// missing, the heartbeat succeeds and this fails.
    ///
    /// # Errors
    /// As [`Store::heartbeat`].
    pub async fn rehearse(&self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let rehearse =
            async |connection: &mut PgConnection| rehearsal::rehearse(connection, changes).await;
        self.run(&self.checks, DEADLINE, rehearse).await
    }

    /// When a record was last changed, and whether the ledger has an entry for a command.
    ///
    /// # Errors
    /// As [`Store::heartbeat`].
    pub async fn last_change(
        &self,
        key: &RecordKey,
        command_id: &CommandId,
    ) -> Result<LastChange, StoreError> {
        let select = async |connection: &mut PgConnection| {
            last_change::last_change(connection, key, command_id).await
        };
        self.run(&self.checks, DEADLINE, select).await
    }

    /// Remembers the order of a redelivered command that may have to go back to the broker.
    ///
    /// # Errors
    /// As [`Store::heartbeat`].
    pub async fn remember_redelivered(&self, change: &Change) -> Result<Redelivery, StoreError> {
        let remember =
            async |connection: &mut PgConnection| redelivered::remember(connection, change).await;
        self.run(&self.redelivered, DEADLINE, remember).await
    }

    /// The redelivered commands that went back to the broker and have no outcome, in their order.
    ///
    /// # Errors
    /// As [`Store::heartbeat`].
    pub async fn undecided_redelivered(&self) -> Result<Vec<UndecidedCommand>, StoreError> {
        let select = async |connection: &mut PgConnection| redelivered::undecided(connection).await;
        self.run(&self.redelivered, DEADLINE, select).await
    }

    /// Forgets commands that went back to the broker and are not in the queue any more.
    ///
    /// # Errors
    /// As [`Store::heartbeat`].
    pub async fn forget_redelivered(
        &self,
        commands: &[UndecidedCommand],
    ) -> Result<(), StoreError> {
        let forget =
            async |connection: &mut PgConnection| redelivered::forget(connection, commands).await;
        self.run(&self.redelivered, DEADLINE, forget).await
    }

    /// Waits until a statement of this worker may have written to the outbox.
    pub async fn outbox_written(&self) {
        self.outbox_written.notified().await;
    }

    /// Takes the lock of the outbox relay, if no other relay has it.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub async fn lock_outbox(&self) -> Result<bool, StoreError> {
        let lock = async |connection: &mut PgConnection| outbox::lock(connection).await;
        self.run(&self.outbox, DEADLINE, lock).await
    }

    /// Releases the lock of the outbox relay.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn unlock_outbox(&self) -> Result<(), StoreError> {
        let unlock = async |connection: &mut PgConnection| outbox::unlock(connection).await;
        self.run(&self.outbox, DEADLINE, unlock).await
    }

    /// The oldest rows of the outbox.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn oldest_outbox_rows(&self, rows: i64) -> Result<Vec<OutboxRow>, StoreError> {
        let oldest = async |connection: &mut PgConnection| outbox::oldest(connection, rows).await;
        self.run(&self.outbox, DEADLINE, oldest).await
    }

    /// Deletes rows of the outbox whose events are published.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn delete_outbox_rows(&self, seqs: &[i64]) -> Result<(), StoreError> {
        let delete = async |connection: &mut PgConnection| outbox::delete(connection, seqs).await;
        self.run(&self.outbox, DEADLINE, delete).await
    }

    /// Deletes ledger entries that are older than `older_than`, at most `at_most` of them. Returns the number
    /// of deleted entries.
    ///
    /// # Errors
    /// As [`Store::lock_outbox`].
    pub async fn prune(&self, older_than: Duration, at_most: u32) -> Result<u64, StoreError> {
        let prune = async |connection: &mut PgConnection| {
            prune::prune(connection, older_than, at_most).await
        };
        self.run(&self.pruning, DEADLINE, prune).await
    }

    async fn run<T>(
        &self,
        slot: &Slot,
        deadline: Duration,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        run_on(&mut *slot.lock().await, &self.options, deadline, statement).await
    }
}
