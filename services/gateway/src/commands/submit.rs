//! Sends one command and returns its outcome: from the reply, or else from the ledger.

use std::time::Duration;

use proto::{Command, CommandError, CommandId, Envelope, Outcome, Record, ledger::LedgerEntry};
use runtime::traces::TraceContext;
use tokio::time::{Instant, sleep_until};

use super::client::{Commands, SendResult};
use crate::{graphql::errors::ApiError, records::Records};

/// How long to wait for the reply. The last read of the ledger takes at most one more second, so a
/// request is answered well within ten.
const REPLY_DEADLINE: Duration = Duration::from_secs(5);
/// The pause between two reads of the ledger.
const LEDGER_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Sends a command and returns the record: as a save left it, or as it was before a deletion, if
/// there was one. Takes at most the deadlines of the reply and of one read.
///
/// # Errors
/// The variants of [`ApiError`] say whether the command can still take effect.
pub async fn submit(
    commands: &Commands,
    records: &Records,
    command_id: CommandId,
    subject: &str,
    command: &Command,
    trace: &TraceContext,
) -> Result<Option<Record>, ApiError> {
    let kind = command.kind();
    let envelope = Envelope {
        subject: Some(subject.to_owned()),
        app_id: Some("connector-details-gateway".to_owned()),
        ..Envelope::of(kind, command_id.clone())
    };
    let deadline = Instant::now() + REPLY_DEADLINE;
    let confirmed = match commands.send(envelope, command, deadline, trace).await {
        SendResult::Replied(reply) => return record(reply.outcome),
        SendResult::NotSent => return Err(ApiError::Unavailable),
        SendResult::QueueFull => return Err(ApiError::QueueFull),
        SendResult::TooLarge => return Err(ApiError::Internal),
        SendResult::Confirmed => true,
        SendResult::Unconfirmed => false,
    };
    match poll_ledger(records, &command_id, command, deadline, trace).await {
        Some(entry) if entry.fingerprint == command.fingerprint() => record(entry.outcome.into()),
        Some(_) => Err(ApiError::Refused(vec![CommandError::conflict()])),
        None if confirmed => Err(ApiError::Pending(kind, command_id)),
        None => Err(ApiError::Unknown(kind, command_id)),
    }
}

fn record(outcome: Outcome) -> Result<Option<Record>, ApiError> {
    match outcome {
        Outcome::Saved { record } => Ok(Some(record)),
        Outcome::Deleted { record } => Ok(record),
        Outcome::Refused { errors } => Err(ApiError::Refused(errors)),
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
