//! One command from the request's side: send it, wait for the answer, look it up, and only then say
//! that it is not decided.

use std::time::Duration;

use proto::{Command, CommandError, CommandId, Envelope, Outcome, Record, ledger::LedgerEntry};
use runtime::traces::TraceContext;
use tokio::time::{Instant, sleep_until};

use super::client::{Commands, SendResult};
use crate::{graphql::errors::ApiError, records::Records};

/// How long an answer is waited for. With the last look into the ledger, which takes a second at
/// most, a request is answered well within ten.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Has a command decided. Returns the record as a save left it, or as it was before a deletion, if
/// there was one. Takes at most the answer's and the read's deadline.
///
/// # Errors
/// The [`ApiError`] says what the command leaves behind.
pub async fn submit(
    commands: &Commands,
    records: &Records,
    command_id: CommandId,
    subject: &str,
    command: &Command,
    trace: &TraceContext,
) -> Result<Option<Record>, ApiError> {
    let envelope = Envelope {
        subject: Some(subject.to_owned()),
        app_id: Some("connector-details-gateway".to_owned()),
        ..Envelope::of(command.kind(), command_id.clone())
    };
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let confirmed = match commands.send(envelope, command, deadline, trace).await {
        SendResult::Answered(reply) => return record(reply.outcome),
        SendResult::NotSent => return Err(ApiError::Unavailable),
        SendResult::QueueFull => return Err(ApiError::QueueFull),
        SendResult::TooLarge => return Err(ApiError::Internal),
        SendResult::Confirmed => true,
        SendResult::Unconfirmed => false,
    };
    match decision(records, &command_id, command, deadline, trace).await {
        Some(decision) if decision.fingerprint == command.fingerprint() => {
            record(decision.outcome.into())
        }
        Some(_) => Err(ApiError::Refused(vec![CommandError::conflict()])),
        None if confirmed => Err(ApiError::Pending(command_id)),
        None => Err(ApiError::Unknown(command_id)),
    }
}

fn record(outcome: Outcome) -> Result<Option<Record>, ApiError> {
    match outcome {
        Outcome::Saved { record } => Ok(Some(record)),
        Outcome::Deleted { record } => Ok(record),
        Outcome::Refused { errors } => Err(ApiError::Refused(errors)),
    }
}

/// Looks for the decision in the ledger: once after the deadline, and before it from time to time,
/// where the connection was lost and with it the answer.
async fn decision(
    records: &Records,
    command_id: &CommandId,
    command: &Command,
    deadline: Instant,
    trace: &TraceContext,
) -> Option<LedgerEntry> {
    let space = &command.key().catalog_guid;
    loop {
        let last = Instant::now() >= deadline;
        match records.decision(space, command_id, trace).await {
            Ok(Some(decision)) => return Some(decision),
            Ok(None) | Err(_) if last => return None,
            Ok(None) | Err(_) => sleep_until(deadline.min(Instant::now() + LOOK_AGAIN)).await,
        }
    }
}
