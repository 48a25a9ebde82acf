//! Decides the changes of a batch, in as few statements as possible.
//!
//! No change is decided before an earlier one that shares its record or its command id. A change that
//! can't be decided now - its record is locked - or never - the database refuses its content - does not
//! keep the others from it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use proto::{CatalogGuid, CommandError, CommandId, RecordKey};

use super::progress::Progress;
use crate::{
    change::Change,
    store::{StoreError, Writers},
};

/// The most bytes of details in one statement. A batch that has more takes several.
const STATEMENT_BYTES: usize = 4 * 1024 * 1024;
/// How long a batch is split in order to find the one change that waits for a lock which can't be seen.
/// After that all that is left of it waits.
const SPLITTING: Duration = Duration::from_secs(3);

/// Changes with their places in the batch.
type Indexed<'a> = Vec<(usize, &'a Change)>;

/// The records and the command ids that some changes name.
#[derive(Default)]
pub(super) struct Names<'a> {
    records: HashSet<&'a RecordKey>,
    ids: HashSet<(&'a CatalogGuid, &'a CommandId)>,
}

impl<'a> Names<'a> {
    /// Adds those of a change; whether both were new.
    pub fn add(&mut self, change: &'a Change) -> bool {
        let new_record = self.records.insert(change.command.key());
        let new_id = self.ids.insert(id(change));
        new_record && new_id
    }

    /// Whether a change names one of them.
    pub fn share(&self, change: &Change) -> bool {
        self.records.contains(change.command.key()) || self.ids.contains(&id(change))
    }
}

fn id(change: &Change) -> (&CatalogGuid, &CommandId) {
    (&change.command.key().catalog_guid, &change.command_id)
}

/// Decides the changes, in order; the results stand in the order of the changes.
///
/// # Errors
/// The database can't decide now. Some changes may have been decided.
pub(super) async fn apply(
    writers: &mut Writers,
    changes: &[&Change],
) -> Result<Vec<Progress>, StoreError> {
    let mut progress: Vec<Option<Progress>> = changes.iter().map(|_| None).collect();
    let mut open: Indexed<'_> = changes.iter().copied().enumerate().collect();
    let mut locked = Names::default();
    while !open.is_empty() {
        let (statement, later) = one_statement(open);
        let (behind, statement): (Indexed<'_>, Indexed<'_>) = statement
            .into_iter()
            .partition(|(_, change)| locked.share(change));
        let mut results = store_or_split(writers, statement).await?;
        results.extend(behind.iter().map(|(index, _)| (*index, Progress::Locked)));
        for (index, result) in results {
            if matches!(result, Progress::Locked) {
                locked.add(changes[index]);
            }
            progress[index] = Some(result);
        }
        open = later;
    }
    let all: Option<Vec<Progress>> = progress.into_iter().collect();
    all.ok_or(StoreError::Undecided)
}

/// The changes that the first statement of a batch would decide, as a sample of what the database has to
/// be able to do.
pub(super) fn sample(changes: &[&Change]) -> Vec<Change> {
    let (statement, _) = one_statement(changes.iter().copied().enumerate().collect());
    let changes = statement.into_iter().map(|(_, change)| change.clone());
    changes.collect()
}

/// The changes that can go into one statement, and those that have to wait for the next: a record
/// or an id that was seen before waits, and so does all that shares one with it, or order is lost.
/// What makes the statement too large waits, too.
fn one_statement(open: Indexed<'_>) -> (Indexed<'_>, Indexed<'_>) {
    let mut seen = Names::default();
    let mut bytes = 0;
    open.into_iter().partition(|(_, change)| {
        let is_new = seen.add(change);
        let fits = bytes == 0 || bytes + change.bytes() <= STATEMENT_BYTES;
        if is_new && fits {
            bytes += change.bytes();
        }
        is_new && fits
    })
}

/// Stores changes that name no record and no id twice. Where the database refuses the content of one
/// of them, the halves are stored by themselves until it stands alone: it must not take its neighbours
/// with it. What waits for a lock is left out.
async fn store_or_split(
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
            Ok(decided) => results.extend(decided),
            Err(StoreError::Content(error)) if part.len() == 1 => {
                results.extend(refused(&part, &error));
            }
            Err(StoreError::Content(_)) => parts.extend(halves(part)),
            Err(StoreError::Locked(_)) => {
                let (mut locked, mut free) = without_locked(writers, part).await?;
                if locked.is_empty() && (free.len() == 1 || started.elapsed() > SPLITTING) {
                    // A lock that can't be seen: another transaction has inserted the record, or holds
                    // what every write needs.
                    locked = std::mem::take(&mut free);
                }
                let found = !locked.is_empty();
                results.extend(locked.iter().map(|(index, _)| (*index, Progress::Locked)));
                if found {
                    parts.push(free);
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
async fn without_locked<'a>(
    writers: &mut Writers,
    part: Indexed<'a>,
) -> Result<(Indexed<'a>, Indexed<'a>), StoreError> {
    let changes: Vec<&Change> = part.iter().map(|(_, change)| *change).collect();
    let mut is_locked = writers.locked(&changes).await?.into_iter();
    Ok(part
        .into_iter()
        .partition(|_| is_locked.next().unwrap_or_default()))
}

/// A change whose content the database refuses.
fn refused(part: &[(usize, &Change)], error: &sqlx::Error) -> Vec<(usize, Progress)> {
    let refuse = |(index, change): &(usize, &Change)| {
        tracing::error!(
            command.id = change.command_id.as_str(),
            trace.id = runtime::traces::trace_id(change.traceparent.as_deref()),
            sql_state = sql_state(error),
            "the database refuses the content of a valid command; it is parked"
        );
        (*index, Progress::Refused(vec![CommandError::internal()]))
    };
    part.iter().map(refuse).collect()
}

/// A content error's text may hold the content; its code does not.
fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

async fn store_once(
    writers: &mut Writers,
    changes: &[(usize, &Change)],
) -> Result<Vec<(usize, Progress)>, StoreError> {
    let all: Vec<&Change> = changes.iter().map(|(_, change)| *change).collect();
    let ends = writers.apply(&all).await?;
    let undecided = all.iter().zip(&ends).filter(|(_, end)| end.is_none());
    let undecided: Vec<&Change> = undecided.map(|(change, _)| *change).collect();
    let mut before = writers.decisions(&undecided).await?.into_iter();
    changes
        .iter()
        .zip(ends)
        .map(|((index, change), end)| {
            let progress = match end {
                Some(end) => Progress::decided(end, false),
                None => match before.next().flatten() {
                    Some(decision) if decision.fingerprint == change.fingerprint => {
                        Progress::decided(decision.outcome, true)
                    }
                    Some(_) => Progress::conflict(),
                    None => return Err(StoreError::Undecided),
                },
            };
            Ok((*index, progress))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proto::{Command, Kind};

    use super::*;

    /// A save of a record under an id, with this many bytes of details and some.
    fn change(record: &str, id: &str, bytes: usize) -> Result<Change, CommandError> {
        let body = serde_json::json!({
            "integrationPackInstanceId": "i", "processId": record, "envId": "e",
            "connectionId": "c", "catalogGuid": "3f8a1d9e-0c1b-4a52-9d6e-5b7c8d9e0f1a",
            "isTokenGenerated": false, "clientId": "x", "clientSecret": proto::MASK,
            "oauthConnectorDetails":
                format!(r#"{{"baseURL":"https://example.com","n":"{}"}}"#, "x".repeat(bytes)),
        });
        let first = |mut faults: Vec<CommandError>| faults.swap_remove(0);
        let command = Command::decode(Kind::Save, body.to_string().as_bytes()).map_err(first)?;
        Ok(Change {
            command_id: CommandId::new(id.to_owned())?,
            fingerprint: command.fingerprint(),
            command,
            updated_by: None,
            source: None,
            traceparent: None,
        })
    }

    /// The ids that go into the statements of a batch.
    fn statements(changes: &[Change]) -> Vec<Vec<&str>> {
        let mut all = Vec::new();
        let mut open: Indexed<'_> = changes.iter().enumerate().collect();
        while !open.is_empty() {
            let (statement, later) = one_statement(open);
            let ids = statement
                .iter()
                .map(|(_, change)| change.command_id.as_str());
            all.push(ids.collect());
            open = later;
        }
        all
    }

    #[test]
    fn what_shares_a_record_or_an_id_is_in_a_later_statement() -> Result<(), CommandError> {
        let changes = [
            change("a", "1", 1)?,
            change("a", "2", 1)?,
            change("b", "2", 1)?,
            change("b", "3", 1)?,
            change("c", "4", 1)?,
        ];

        let statements = statements(&changes);

        assert_eq!(
            statements,
            [vec!["1", "4"], vec!["2"], vec!["2"], vec!["3"]]
        );
        Ok(())
    }

    #[test]
    fn a_statement_is_bounded_in_bytes_and_order_is_kept_across_the_bound()
    -> Result<(), CommandError> {
        const LARGE: usize = 60_000;
        let mut changes = Vec::new();
        for number in 0..150 {
            changes.push(change(&number.to_string(), &number.to_string(), LARGE)?);
        }
        // Small, and behind one that does not fit.
        changes.push(change("149", "last", 1)?);

        let statements = statements(&changes);

        assert_eq!(statements.len(), 4);
        for statement in &statements {
            assert!(statement.len() * LARGE <= STATEMENT_BYTES);
        }
        assert_eq!(statements.concat().len(), 151);
        assert_eq!(statements[3], ["last"], "after the one for its record");
        Ok(())
    }
}
