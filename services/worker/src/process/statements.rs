//! Applies the changes of a batch with as few statements as possible.
//!
//! No change is applied before an earlier one that shares its record or its command id. A change whose record
//! is locked, or whose content the database refuses, does not prevent the other changes.

use std::time::{Duration, Instant};

use proto::CommandError;

use super::{
    plan::{Indexed, SeenKeys, next_statement},
    progress::Progress,
};
use crate::{
    change::Change,
    store::{StoreError, Writers},
};

/// How long a batch is bisected to find the one change that waits for a lock which no query shows. After that
/// all remaining changes of the batch count as locked.
const BISECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Applies the changes in their order. The results have the order of the changes.
///
/// # Errors
/// The database is unavailable. Some changes may have been applied.
pub(super) async fn apply(
    writers: &mut Writers,
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
        let mut results = store_or_bisect(writers, statement).await?;
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
    writers: &mut Writers,
    changes: Indexed<'_>,
) -> Result<Vec<(usize, Progress)>, StoreError> {
    let started = Instant::now();
    let mut results = Vec::with_capacity(changes.len());
    let mut parts = vec![changes];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match store_once(writers, &part).await {
            Ok(progress) => results.extend(progress),
            Err(StoreError::Content(error)) if part.len() == 1 => {
                results.extend(part.iter().map(|change| as_refused(change, &error)));
            }
            Err(StoreError::Content(_)) => parts.extend(halves(part)),
            Err(StoreError::Locked(_)) => {
                let (locked, free) = split_by_lock(writers, part).await?;
                if !locked.is_empty() {
                    results.extend(locked.iter().map(as_locked));
                    parts.push(free);
                } else if free.len() == 1 || started.elapsed() > BISECT_TIMEOUT {
                    // No query shows this lock: another transaction has inserted the record and has not
                    // committed, or it holds a lock that every write needs.
                    results.extend(free.iter().map(as_locked));
                } else {
                    parts.extend(halves(free));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

fn halves(mut part: Indexed<'_>) -> [Indexed<'_>; 2] {
    let half = part.split_off(part.len() / 2);
    [half, part]
}

/// The changes whose record is locked, and the others.
async fn split_by_lock<'a>(
    writers: &mut Writers,
    part: Indexed<'a>,
) -> Result<(Indexed<'a>, Indexed<'a>), StoreError> {
    let changes: Vec<&Change> = part.iter().map(|(_, change)| *change).collect();
    let is_locked = writers.locked(&changes).await?;
    if is_locked.len() != part.len() {
        return Err(StoreError::Undecided);
    }
    let (mut locked, mut free) = (Vec::new(), Vec::new());
    for (change, is_locked) in part.into_iter().zip(is_locked) {
        if is_locked {
            locked.push(change);
        } else {
            free.push(change);
        }
    }
    Ok((locked, free))
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

/// Stores changes with one statement. A change without a result has an entry in the ledger: the command was
/// delivered before, or its id was used for another command.
async fn store_once(
    writers: &mut Writers,
    changes: &[(usize, &Change)],
) -> Result<Vec<(usize, Progress)>, StoreError> {
    let all: Vec<&Change> = changes.iter().map(|(_, change)| *change).collect();
    let outcomes = writers.apply(&all).await?;
    let without_outcome = all.iter().zip(&outcomes).filter(|(_, it)| it.is_none());
    let without_outcome: Vec<&Change> = without_outcome.map(|(change, _)| *change).collect();
    let mut entries = writers.decisions(&without_outcome).await?.into_iter();
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
