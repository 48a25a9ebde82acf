//! Applies the changes of a batch with as few statements as possible.
//!
//! No change is applied before an earlier one that shares its record or its command id. A change whose record
//! is locked, or whose content the database refuses, does not prevent the other changes.

use std::time::{Duration, Instant};

use proto::{CommandError, ledger::LedgerOutcome};

use super::{
    plan::{Indexed, SeenKeys, next_statement},
    progress::Progress,
};
use crate::{
    change::Change,
    store::{Outcomes, StoreError, Writer},
};

/// How long a batch is bisected to find the one change that waits for a lock which no query shows. After that
/// all remaining changes of the batch count as locked.
const BISECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Applies the changes in their order. The results have the order of the changes.
///
/// # Errors
/// The database is unavailable. Some changes may have been applied.
pub(super) async fn apply(
    writer: &mut Writer,
    changes: &[&Change],
) -> Result<Vec<Progress>, StoreError> {
    let mut progress: Vec<Option<Progress>> = changes.iter().map(|_| None).collect();
    let mut remaining: Indexed<'_> = changes.iter().copied().enumerate().collect();
    let mut locked = SeenKeys::default();
    while !remaining.is_empty() {
        let (statement, later) = next_statement(remaining);
        let (behind_locked, statement): (Indexed<'_>, Indexed<'_>) = statement
            .into_iter()
            .partition(|(_, change)| locked.overlaps(change));
        let mut results = store_or_bisect(writer, statement).await?;
        results.extend(behind_locked.iter().map(as_locked));
        for (index, result) in results {
            if matches!(result, Progress::Locked) {
                locked.insert(changes[index]);
            }
            progress[index] = Some(result);
        }
        remaining = later;
    }
    let all: Option<Vec<Progress>> = progress.into_iter().collect();
    all.ok_or(StoreError::Undecided)
}

/// Stores changes that name no record and no id twice.
///
/// If the database refuses the content of one of them, each half is stored on its own, until the refused
/// change is alone. Changes that wait for a lock are left out.
async fn store_or_bisect(
    writer: &mut Writer,
    changes: Indexed<'_>,
) -> Result<Vec<(usize, Progress)>, StoreError> {
    let mut parts = Parts {
        results: Vec::with_capacity(changes.len()),
        remaining: vec![changes],
        started: Instant::now(),
    };
    while let Some(part) = parts.remaining.pop() {
        let stored = writer.apply(&values(&part)).await;
        parts.add(writer, part, stored).await?;
    }
    Ok(parts.results)
}

/// The results of a statement so far, and the parts of it that remain to be stored.
struct Parts<'a> {
    results: Vec<(usize, Progress)>,
    remaining: Vec<Indexed<'a>>,
    started: Instant,
}

impl<'a> Parts<'a> {
    /// Adds the outcomes of a part. If its statement failed because of some of the changes, adds the smaller parts
    /// that are stored next.
    async fn add(
        &mut self,
        writer: &mut Writer,
        part: Indexed<'a>,
        stored: Outcomes,
    ) -> Result<(), StoreError> {
        match stored {
            Ok(outcomes) => self
                .results
                .extend(progress(writer, &part, outcomes).await?),
            Err(StoreError::Content(error)) if part.len() == 1 => {
                let refused = part.iter().map(|change| as_refused(change, &error));
                self.results.extend(refused);
            }
            Err(StoreError::Content(_)) => self.remaining.extend(halves(part)),
            Err(StoreError::Locked(_)) => self.add_locked(writer, part).await?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Adds a part of which at least one change waits for a lock.
    async fn add_locked(
        &mut self,
        writer: &mut Writer,
        part: Indexed<'a>,
    ) -> Result<(), StoreError> {
        let mut is_locked = writer.locked(&values(&part)).await?.into_iter();
        let (locked, free): (Indexed<'_>, Indexed<'_>) = part
            .into_iter()
            .partition(|_| is_locked.next() == Some(true));
        self.results.extend(locked.iter().map(as_locked));
        let is_found = !locked.is_empty();
        if is_found && !free.is_empty() {
            self.remaining.push(free);
        } else if free.len() == 1 || self.started.elapsed() > BISECT_TIMEOUT {
            // No query shows this lock: another transaction has inserted the record and has not committed, or
            // it holds a lock that every write needs.
            self.results.extend(free.iter().map(as_locked));
        } else if !free.is_empty() {
            self.remaining.extend(halves(free));
        }
        Ok(())
    }
}

fn values<'a>(part: &[(usize, &'a Change)]) -> Vec<&'a Change> {
    part.iter().map(|(_, change)| *change).collect()
}

fn halves(mut part: Indexed<'_>) -> [Indexed<'_>; 2] {
    let half = part.split_off(part.len() / 2);
    [half, part]
}

fn as_locked((index, _): &(usize, &Change)) -> (usize, Progress) {
    (*index, Progress::Locked)
}

fn as_refused((index, change): &(usize, &Change), error: &sqlx::Error) -> (usize, Progress) {
    tracing::error!(
        command.id = change.command_id.as_str(),
        trace.id = runtime::traces::trace_id(change.traceparent.as_deref()),
        sql_state = sql_state(error),
        "the database refuses the content of a valid command; it is parked"
    );
    (*index, Progress::Refused(vec![CommandError::internal()]))
}

/// The error's code. Its text may contain the command's content, so it is not logged.
fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The results of changes that were stored. A change without an outcome has an entry in the ledger: the command
/// was delivered before, or its id was used for another command.
async fn progress(
    writer: &mut Writer,
    changes: &[(usize, &Change)],
    outcomes: Vec<Option<LedgerOutcome>>,
) -> Result<Vec<(usize, Progress)>, StoreError> {
    let without_outcome = changes.iter().zip(&outcomes).filter(|(_, it)| it.is_none());
    let without_outcome: Vec<&Change> = without_outcome.map(|((_, change), _)| *change).collect();
    let mut entries = writer.decisions(&without_outcome).await?.into_iter();
    changes
        .iter()
        .zip(outcomes)
        .map(|((index, change), outcome)| {
            let progress = match outcome {
                Some(outcome) => Progress::from_ledger(outcome, false),
                None => match entries.next().flatten() {
                    Some(entry) if entry.fingerprint == change.fingerprint => {
                        Progress::from_ledger(entry.outcome, true)
                    }
                    Some(_) => Progress::id_conflict(),
                    None => return Err(StoreError::Undecided),
                },
            };
            Ok((*index, progress))
        })
        .collect()
}
