//! The two connections that store batches of commands.

use proto::ledger::LedgerEntry;

use super::{
    error::StoreError,
    writer::{Outcomes, Writer},
};
use crate::{batch_trace::Statement, change::Change};

/// Two connections for one batch at a time. The second is opened when the first large batch arrives.
#[derive(Debug)]
pub struct Writers {
    first: Writer,
    second: Writer,
}

impl Writers {
    pub(super) fn new(make: impl Fn() -> Writer) -> Self {
        Self {
            first: make(),
            second: make(),
        }
    }

    /// Applies the changes that are not in the ledger yet. Returns their outcomes in the order of the changes,
    /// and `None` for a change that was in the ledger already. No two changes may have the same record or the
    /// same command id.
    ///
    /// # Errors
    /// Every [`StoreError`]. Some of the changes may have been committed.
    pub async fn apply(&mut self, changes: &[&Change]) -> Outcomes {
        self.first.decide(changes).await
    }

    /// As [`Writers::apply`], for two parts at the same time, which commit in any order.
    pub async fn apply_both(
        &mut self,
        front: &[&Change],
        back: &[&Change],
    ) -> (Outcomes, Outcomes) {
        let (front_outcomes, back_outcomes) =
            tokio::join!(self.first.decide(front), self.second.decide(back));
        match back_outcomes {
            // The database may refuse a second connection.
            Err(StoreError::Transient(_) | StoreError::Deadline) if front_outcomes.is_ok() => {
                (front_outcomes, self.first.decide(back).await)
            }
            back_outcomes => (front_outcomes, back_outcomes),
        }
    }

    /// The ledger entries of these commands, in the order of the commands. This is a separate statement,
    /// because the snapshot of the statement in [`Writers::apply`] may be older than another worker's commit.
    ///
    /// # Errors
    /// [`StoreError::Transient`] or [`StoreError::Deadline`].
    pub async fn decisions(
        &mut self,
        changes: &[&Change],
    ) -> Result<Vec<Option<LedgerEntry>>, StoreError> {
        self.first.decisions(changes).await
    }

    /// For each change, in their order, whether another transaction has locked its record.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if the whole table is locked; otherwise as [`Writers::decisions`].
    pub async fn locked(&mut self, changes: &[&Change]) -> Result<Vec<bool>, StoreError> {
        self.first.locked(changes).await
    }

    /// Removes and returns the recorded statements, for the trace of the batch.
    pub(crate) fn take_statements(&mut self) -> Vec<Statement> {
        let mut statements = self.first.take_statements();
        statements.append(&mut self.second.take_statements());
        statements
    }
}
