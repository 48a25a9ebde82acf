//! The connection that stores batches of commands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use proto::{
    Command,
    ledger::{LedgerEntry, LedgerOutcome},
};
use sqlx::{PgConnection, postgres::PgConnectOptions};
use tokio::sync::Notify;

use super::{
    change,
    connection::{DEADLINE, Idle, run_on},
    error::StoreError,
    input::inputs,
    ledger::{self, by_name, name},
    locked, save,
};
use crate::{batch_trace::Statement, change::Change, metrics};

/// Changes with their index in the batch.
type Indexed<'a> = Vec<(usize, &'a Change)>;

/// The outcomes of some changes, or the error of their statement.
pub(crate) type Outcomes = Result<Vec<Option<LedgerOutcome>>, StoreError>;

/// A connection, which is opened when the first batch arrives. It runs one statement at a time.
#[derive(Debug)]
pub struct Writer {
    options: Arc<PgConnectOptions>,
    idle: Idle,
    outbox_written: Arc<Notify>,
    has_decided: Arc<AtomicBool>,
    /// The statements since the last call of [`Writer::take_statements`].
    statements: Vec<Statement>,
}

impl Writer {
    pub(super) fn new(
        options: Arc<PgConnectOptions>,
        outbox_written: Arc<Notify>,
        has_decided: Arc<AtomicBool>,
    ) -> Self {
        Self {
            options,
            idle: None,
            outbox_written,
            has_decided,
            statements: Vec::new(),
        }
    }

    /// Applies the changes that are not in the ledger yet. Returns their outcomes in the order of the changes,
    /// and `None` for a change that was in the ledger already. No two changes may have the same record or the
    /// same command id.
    ///
    /// One statement stores the saves without an expected revision. Another statement stores the deletions and
    /// the saves with an expected revision. Both lock the records of saves in the order of their keys. If two
    /// workers run for a moment at the same time, one waits for the other instead of causing a deadlock.
    ///
    /// # Errors
    /// Every [`StoreError`]. Each statement is atomic, but the first may be committed when the second fails.
    pub(crate) async fn apply(&mut self, changes: &[&Change]) -> Outcomes {
        let mut sorted: Indexed<'_> = changes.iter().copied().enumerate().collect();
        sorted.sort_unstable_by_key(|(_, change)| change.command.key());
        let (plain, others): (Indexed<'_>, Indexed<'_>) = sorted
            .into_iter()
            .partition(|(_, change)| change.is_plain());
        let mut decided = self.save(&plain).await?;
        decided.extend(self.change(&others).await?);
        self.has_decided.store(true, Ordering::Relaxed);
        let mut ends: Vec<Option<LedgerOutcome>> = changes.iter().map(|_| None).collect();
        for (index, end) in decided {
            ends[index] = Some(end);
        }
        Ok(ends)
    }

    async fn save(
        &mut self,
        changes: &[(usize, &Change)],
    ) -> Result<Vec<(usize, LedgerOutcome)>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = inputs(changes.iter().map(|(_, change)| *change));
        let statement = async |connection: &mut PgConnection| save::save(connection, &inputs).await;
        let saved = self.run("save connector_details", statement).await?;
        self.outbox_written.notify_one();
        let decided = saved.into_iter().map(|saved| {
            let place = usize::try_from(saved.place - 1).ok();
            let (index, change) = place
                .and_then(|place| changes.get(place))
                .ok_or(StoreError::Undecided)?;
            let Command::Save(save) = &change.command else {
                return Err(StoreError::Undecided);
            };
            let end = LedgerOutcome::Saved(saved.record(save, change.updated_by.clone()));
            Ok((*index, end))
        });
        decided.collect()
    }

    async fn change(
        &mut self,
        changes: &[(usize, &Change)],
    ) -> Result<Vec<(usize, LedgerOutcome)>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = inputs(changes.iter().map(|(_, change)| *change));
        let statement =
            async |connection: &mut PgConnection| change::change(connection, &inputs).await;
        let decisions = self.run("change connector_details", statement).await;
        self.outbox_written.notify_one();
        let mut ends = by_name(decisions?);
        let decided = changes.iter().filter_map(|(index, change)| {
            let decision = ends.remove(&name(change))?;
            Some((*index, decision.outcome))
        });
        Ok(decided.collect())
    }

    /// The ledger entries of these commands, in the order of the commands. This is a separate statement,
    /// because the snapshot of the statement in [`Writer::apply`] may be older than another worker's commit.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub(crate) async fn decisions(
        &mut self,
        changes: &[&Change],
    ) -> Result<Vec<Option<LedgerEntry>>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = inputs(changes.iter().copied());
        let statement =
            async |connection: &mut PgConnection| ledger::entries_of(connection, &inputs).await;
        let decisions = self.run("select connector_details_ledger", statement);
        let mut decisions = by_name(decisions.await?);
        if !decisions.is_empty() {
            // A worker may have died after its statement committed and before its events were published. Let
            // the relay read the outbox.
            self.outbox_written.notify_one();
        }
        let found = changes.iter().map(|change| decisions.remove(&name(change)));
        Ok(found.collect())
    }

    /// For each change, in their order, whether another transaction has locked its record.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if the whole table is locked; otherwise as [`Writer::decisions`].
    pub(crate) async fn locked(&mut self, changes: &[&Change]) -> Result<Vec<bool>, StoreError> {
        let inputs = inputs(changes.iter().copied());
        let statement =
            async |connection: &mut PgConnection| locked::locked(connection, &inputs).await;
        let places = self
            .run("select connector_details for update", statement)
            .await?;
        let mut is_locked = vec![false; changes.len()];
        for place in places {
            let index = usize::try_from(place - 1).ok();
            let change = index.and_then(|index| is_locked.get_mut(index));
            *change.ok_or(StoreError::Undecided)? = true;
        }
        Ok(is_locked)
    }

    /// Removes and returns the recorded statements.
    pub(crate) fn take_statements(&mut self) -> Vec<Statement> {
        std::mem::take(&mut self.statements)
    }

    async fn run<T>(
        &mut self,
        name: &'static str,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        let started = SystemTime::now();
        let result = run_on(&mut self.idle, &self.options, DEADLINE, statement).await;
        let (ended, ok) = (SystemTime::now(), result.is_ok());
        metrics::statement(ok, ended.duration_since(started).unwrap_or_default());
        self.statements.push(Statement {
            name,
            started,
            ended,
            ok,
        });
        result
    }
}
