//! The one place with SQL: decides a batch of commands in one statement and one commit.

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
mod rehearsal;
mod save;
mod writers;

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

pub use self::{
    error::StoreError,
    last_change::LastChange,
    outbox::{OutboxRow, PendingEvent},
    writers::Writers,
};

use self::{
    connection::{DEADLINE, Idle, run_on},
    heartbeat::Identity,
    writers::Writer,
};
use crate::change::Change;

/// No statement may take longer on the server; the client gives up a little later.
const STATEMENT_TIMEOUT: &str = "8s";
/// The commands of a batch wait for this long when one of their records is locked, before that one is set
/// aside. A wait that was only a moment too short costs a retry and nothing else.
const LOCK_TIMEOUT: &str = "300ms";
/// A commit that takes longer than this is as bad as none.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(3);

/// The worker's database: a few connections, each for one purpose, and no pool.
///
/// sqlx's pool pings a connection that is given back, without a deadline. Where a network loses
/// answers, that never ends, and the connection's place in the pool is gone for good.
#[derive(Debug, Clone)]
pub struct Store {
    options: Arc<PgConnectOptions>,
    heartbeat: Arc<Slot>,
    /// For what changes nothing: rehearsals, and what a record's last change was.
    checks: Arc<Slot>,
    /// It holds the lock of the relay.
    outbox: Arc<Slot>,
    pruning: Arc<Slot>,
    identity: Arc<Identity>,
    /// Whether a command was decided since the last heartbeat.
    has_decided: Arc<AtomicBool>,
    /// Notified when a statement may have written to the outbox.
    outbox_written: Arc<Notify>,
}

type Slot = Mutex<Idle>;

impl Store {
    /// Nothing is opened before it is needed.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options
            .application_name("connector-details-worker")
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", LOCK_TIMEOUT),
                // Planned once: anew for each batch it costs more than one command's own work.
                ("plan_cache_mode", "force_generic_plan"),
                // Such a plan knows neither the batch's size nor the table's: what is good for a
                // few rows (reading the whole table, comparing each with each) is left out.
                ("enable_seqscan", "off"),
                ("enable_nestloop", "off"),
                // Where there is no other way than one of these, the planner takes the cost for
                // enormous, and would compile the statement for half a second.
                ("jit", "off"),
            ]);
        Self {
            options: Arc::new(options),
            heartbeat: Arc::default(),
            checks: Arc::default(),
            outbox: Arc::default(),
            pruning: Arc::default(),
            identity: Arc::new(Identity::of_process()),
            has_decided: Arc::default(),
            outbox_written: Arc::default(),
        }
    }

    /// Connections to decide with, opened when they are needed.
    #[must_use]
    pub fn writers(&self) -> Writers {
        Writers::new(|| {
            let has_decided = self.has_decided.clone();
            Writer::new(
                self.options.clone(),
                self.outbox_written.clone(),
                has_decided,
            )
        })
    }

    /// Writes the row of this worker: whether the database answers, has the schema, and takes writes.
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

    /// Whether the database could decide these changes, which name no record and no command id twice.
    /// Nothing is decided: their statements run, and are rolled back. Where the disk of one table is
    /// full, or one privilege is missing, a heartbeat succeeds and this does not.
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

    /// When a record was last changed, and whether a command for it was decided before.
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

    /// Ends when a statement of this worker may have written to the outbox.
    pub async fn outbox_written(&self) {
        self.outbox_written.notified().await;
    }

    /// Takes the lock of the outbox relay, if no other relay has it.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`], as for all that follow.
    pub async fn lock_outbox(&self) -> Result<bool, StoreError> {
        let lock = async |connection: &mut PgConnection| outbox::lock(connection).await;
        self.run(&self.outbox, DEADLINE, lock).await
    }

    /// Gives the lock back.
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

    /// Forgets some decisions that are older, and says how many.
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
