//! Sends one command and returns its outcome: from the reply, or else from the ledger.

use std::time::Duration;

use proto::{Command, CommandError, CommandId, Envelope, Outcome, Record, ledger::LedgerEntry};
use runtime::traces::TraceContext;
use tokio::time::{Instant, sleep_until};

use super::client::{Commands, SendResult};
use crate::records::Records;

/// How long to wait for the reply to one command. The last read of the ledger takes at most one more
/// second.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);
/// The pause between two reads of the ledger.
const LEDGER_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Why a command has no outcome that it asked for.
#[derive(Debug)]
pub enum SubmitError {
    /// The worker refused the command. It did not take effect, and will not.
    Refused(Vec<CommandError>),
    /// The queue is full. The command was not accepted, and will not take effect.
    QueueFull,
    /// Nothing was sent, or the broker has no queue for it. The command will not take effect.
    Unavailable,
    /// The time of the whole request was over before the command's turn. Nothing was sent.
    TooLate,
    /// The broker confirmed the command, and no reply came in time. It will take effect or be refused.
    Pending,
    /// The command was sent and not confirmed. It may take effect.
    Unknown,
}

/// Sends a command and returns the record: as a save left it, or as it was before a deletion, if
/// there was one. Takes at most the deadlines of the reply and of one read.
///
/// The commands of one request are sent one after another. At `request_deadline` the wait for a reply
/// ends, and no further command is sent.
///
/// # Errors
/// The variants of [`SubmitError`] say whether the command can still take effect.
pub async fn submit(
    commands: &Commands,
    records: &Records,
    command_id: CommandId,
    subject: &str,
    command: &Command,
    request_deadline: Instant,
    trace: &TraceContext,
) -> Result<Option<Record>, SubmitError> {
    let deadline = reply_deadline(Instant::now(), request_deadline).ok_or(SubmitError::TooLate)?;
    let envelope = Envelope {
        subject: Some(subject.to_owned()),
        app_id: Some("connector-details-gateway".to_owned()),
        ..Envelope::of(command.kind(), command_id.clone())
    };
    let confirmed = match commands.send(envelope, command, deadline, trace).await {
        SendResult::Replied(reply) => return record(reply.outcome),
        SendResult::NotSent => return Err(SubmitError::Unavailable),
        SendResult::QueueFull => return Err(SubmitError::QueueFull),
        SendResult::Confirmed => true,
        SendResult::Unconfirmed => false,
    };
    match poll_ledger(records, &command_id, command, deadline, trace).await {
        Some(entry) if entry.fingerprint == command.fingerprint() => record(entry.outcome.into()),
        Some(_) => Err(SubmitError::Refused(vec![CommandError::conflict()])),
        None if confirmed => Err(SubmitError::Pending),
        None => Err(SubmitError::Unknown),
    }
}

/// When the wait for the reply ends. `None` if the time of the request is over.
fn reply_deadline(now: Instant, request_deadline: Instant) -> Option<Instant> {
    (now < request_deadline).then(|| request_deadline.min(now + REPLY_DEADLINE))
}

fn record(outcome: Outcome) -> Result<Option<Record>, SubmitError> {
    match outcome {
        Outcome::Saved { record } => Ok(Some(record)),
        Outcome::Deleted { record } => Ok(record),
        Outcome::Refused { errors } => Err(SubmitError::Refused(errors)),
    }
}

/// Reads the outcome from the ledger until the deadline, and once after it. There is time left
/// before the deadline only if the connection was lost, and the reply with it.
async fn poll_ledger(
    records: &Records,
    command_id: &CommandId,
    command: &Command,
    deadline: Instant,
    trace: &TraceContext,
) -> Option<LedgerEntry> {
    let space = &command.key().catalog_guid;
    loop {
        let last = Instant::now() >= deadline;
        match records.ledger_entry(space, command_id, trace).await {
            Ok(Some(entry)) => return Some(entry),
            Ok(None) | Err(_) if last => return None,
            Ok(None) | Err(_) => {
                sleep_until(deadline.min(Instant::now() + LEDGER_POLL_INTERVAL)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_request_share_its_deadline() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);

        assert_eq!(reply_deadline(now, after(8)), Some(after(5)));
        assert_eq!(reply_deadline(after(5), after(8)), Some(after(8)));
        assert_eq!(reply_deadline(after(8), after(8)), None);
        assert_eq!(reply_deadline(after(9), after(8)), None);
    }
}
