//! Decides a batch of messages: plain in, plain out, no AMQP and no SQL.
//!
//! A refusal is an answer, not an error. The only error is that nothing could be decided now.

use std::collections::HashSet;

use proto::{Command, Envelope, Fault, Outcome, ledger::End};

use crate::{
    failpoint,
    publishers::Publishers,
    store::{Change, Lane, StoreError},
};

/// A message as it was delivered.
#[derive(Debug)]
pub struct Message {
    /// Its properties.
    pub envelope: Envelope,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is to be done about one message.
#[derive(Debug)]
pub struct Verdict {
    /// The answer for the publisher.
    pub outcome: Outcome,
    /// What it is counted as.
    pub kind: Kind,
    /// Whether the message is kept in `.parked`, and why. A conflict is an answer and not kept:
    /// its sender knows all that there is to know.
    pub park: Option<Fault>,
}

/// What became of a message, for those who count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stored now.
    Saved,
    /// Deleted now, or there was nothing to delete.
    Deleted,
    /// Decided before, and answered the same.
    Repeated,
    /// Its id stands for something else, or the record is not as it expected.
    Conflict,
    /// Nobody can apply it.
    Refused,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Saved,
        Self::Deleted,
        Self::Repeated,
        Self::Conflict,
        Self::Refused,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Deleted => "deleted",
            Self::Repeated => "repeated",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }
}

impl Verdict {
    /// What was decided, now or before.
    fn decided(end: End, before: bool) -> Self {
        let kind = match &end {
            _ if before => Kind::Repeated,
            End::Saved(_) => Kind::Saved,
            End::Deleted(_) => Kind::Deleted,
            End::Conflict(_) => Kind::Conflict,
        };
        Self {
            outcome: end.into(),
            kind,
            park: None,
        }
    }

    fn conflict() -> Self {
        Self {
            outcome: Outcome::refused(Fault::conflict()),
            kind: Kind::Conflict,
            park: None,
        }
    }

    /// A message that nobody can apply.
    #[must_use]
    pub fn parked(faults: Vec<Fault>) -> Self {
        Self {
            park: faults.first().cloned(),
            kind: Kind::Refused,
            outcome: Outcome::Refused { errors: faults },
        }
    }
}

/// A message that was checked: what it wants, or all that is wrong with it.
pub type Checked = Result<Change, Vec<Fault>>;

/// Decides every message, in order; the verdicts stand in the order of the messages.
///
/// # Errors
/// The database can't decide now. Some messages may have been decided; deciding all of them again
/// gives the same verdicts.
pub async fn decide(lane: &mut Lane, checked: &[&Checked]) -> Result<Vec<Verdict>, StoreError> {
    let changes: Vec<&Change> = checked
        .iter()
        .filter_map(|change| change.as_ref().ok())
        .collect();
    let mut decided = store_all(lane, changes).await?.into_iter();
    checked
        .iter()
        .map(|change| match change {
            Ok(_) => decided.next().ok_or(StoreError::Undecided),
            Err(faults) => Ok(Verdict::parked(faults.clone())),
        })
        .collect()
}

/// The door, once more: other services publish too.
///
/// # Errors
/// All that is wrong with the message.
pub fn check(message: &Message, publishers: &Publishers) -> Checked {
    let envelope = &message.envelope;
    let (command_id, command) = Command::read(envelope, &message.body)?;
    failpoint::pass(command_id);
    let user_id = envelope.user_id.as_deref();
    if !publishers.allow(user_id, &command.key().catalog_guid) {
        return Err(vec![Fault::forbidden()]);
    }
    // The `x-subject` of anybody else is ignored.
    let author = if publishers.may_name_authors(user_id) {
        envelope.updated_by()
    } else {
        user_id
    };
    Ok(Change {
        command_id: command_id.clone(),
        fingerprint: command.fingerprint(),
        command,
        updated_by: author.map(ToOwned::to_owned),
        source: envelope.app_id.clone(),
        traceparent: envelope.traceparent.clone(),
    })
}

/// One statement for the whole batch, wherever no record and no id is named twice.
async fn store_all(lane: &mut Lane, changes: Vec<&Change>) -> Result<Vec<Verdict>, StoreError> {
    let mut verdicts: Vec<Option<Verdict>> = changes.iter().map(|_| None).collect();
    let mut open: Vec<(usize, &Change)> = changes.into_iter().enumerate().collect();
    while !open.is_empty() {
        let (statement, later) = without_repeats(open);
        for (index, verdict) in store_or_split(lane, statement).await? {
            verdicts[index] = Some(verdict);
        }
        open = later;
    }
    let all: Option<Vec<Verdict>> = verdicts.into_iter().collect();
    all.ok_or(StoreError::Undecided)
}

type Indexed<'a> = Vec<(usize, &'a Change)>;

/// The changes that can go into one statement, and those that have to wait for the next: a record
/// or an id that was seen before waits, and so does all that shares one with it, or order is lost.
fn without_repeats(open: Indexed<'_>) -> (Indexed<'_>, Indexed<'_>) {
    let mut records = HashSet::new();
    let mut ids = HashSet::new();
    open.into_iter().partition(|(_, change)| {
        let new_record = records.insert(change.command.key());
        let new_id = ids.insert((&change.command.key().catalog_guid, &change.command_id));
        new_record && new_id
    })
}

/// Stores changes that name no record and no id twice. Where the database refuses the content of one of them, the
/// halves are stored by themselves until it stands alone: it must not take its neighbours with it.
async fn store_or_split(
    lane: &mut Lane,
    changes: Indexed<'_>,
) -> Result<Vec<(usize, Verdict)>, StoreError> {
    let mut verdicts = Vec::with_capacity(changes.len());
    let mut parts = vec![changes];
    while let Some(mut part) = parts.pop() {
        match store_once(lane, &part).await {
            Ok(decided) => verdicts.extend(decided),
            Err(StoreError::Content(error)) if part.len() == 1 => {
                let (index, change) = part[0];
                tracing::error!(
                    command.id = change.command_id.as_str(),
                    trace.id = telemetry::traces::trace_id(change.traceparent.as_deref()),
                    sql_state = sql_state(&error),
                    "the database refuses the content of a valid command; it is parked"
                );
                verdicts.push((index, Verdict::parked(vec![Fault::internal()])));
            }
            Err(StoreError::Content(_)) => {
                let half = part.split_off(part.len() / 2);
                parts.extend([half, part]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(verdicts)
}

/// A content error's text may hold the content; its code does not.
fn sql_state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

async fn store_once(
    lane: &mut Lane,
    changes: &[(usize, &Change)],
) -> Result<Vec<(usize, Verdict)>, StoreError> {
    let all: Vec<&Change> = changes.iter().map(|(_, change)| *change).collect();
    let ends = lane.decide(&all).await?;
    let undecided = all.iter().zip(&ends).filter(|(_, end)| end.is_none());
    let undecided: Vec<&Change> = undecided.map(|(change, _)| *change).collect();
    let mut before = lane.decisions(&undecided).await?.into_iter();
    changes
        .iter()
        .zip(ends)
        .map(|((index, change), end)| {
            let verdict = match end {
                Some(end) => Verdict::decided(end, false),
                None => match before.next().flatten() {
                    Some(decision) if decision.fingerprint == change.fingerprint => {
                        Verdict::decided(decision.end, true)
                    }
                    Some(_) => Verdict::conflict(),
                    None => return Err(StoreError::Undecided),
                },
            };
            Ok((*index, verdict))
        })
        .collect()
}
