//! Decides a batch of messages: plain in, plain out, no AMQP and no SQL.
//!
//! A refusal is an answer, not an error. The only error is that nothing could be decided now.

use proto::{Command, Envelope, Fault, Outcome, ledger::End};

use crate::{
    batch, failpoint,
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
    pub(crate) fn decided(end: End, before: bool) -> Self {
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

    pub(crate) fn conflict() -> Self {
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

/// How far a message came.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are decided")]
pub enum Progress {
    /// It is decided.
    Decided(Verdict),
    /// Somebody else's open transaction has locked its record, or it stands behind such a command for the
    /// same record or with the same id. Nothing is decided yet.
    Locked,
}

/// Decides every message, in order; the results stand in the order of the messages.
///
/// # Errors
/// The database can't decide now. Some messages may have been decided; deciding all of them again
/// gives the same verdicts.
pub async fn decide(lane: &mut Lane, checked: &[&Checked]) -> Result<Vec<Progress>, StoreError> {
    let changes: Vec<&Change> = checked
        .iter()
        .filter_map(|change| change.as_ref().ok())
        .collect();
    let mut decided = batch::decide(lane, changes).await?.into_iter();
    checked
        .iter()
        .map(|change| match change {
            Ok(_) => decided.next().ok_or(StoreError::Undecided),
            Err(faults) => Ok(Progress::Decided(Verdict::parked(faults.clone()))),
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
