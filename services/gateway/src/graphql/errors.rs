//! All errors of saves and reads, as the client receives them.
//!
//! [`ApiError`] must not implement `Display`: async-graphql turns every `Display` error into a message
//! for the client, so `?` on a database error would publish the text of the database, without a code.

use async_graphql::{Context, Error, ErrorExtensionValues, ServerError, Value};
use proto::{CommandError, CommandId, ErrorCode, Kind};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{error_code::Code, limits::Full};

/// The message of `EXPIRED`. The worker's message is about a message property that only publishers set.
const EXPIRED: &str = "The command expired in the queue, and nothing was changed. Repeat it with the \
                       commandId as its Idempotency-Key: that is safe.";

/// The complete list. Each variant says whether the command can still take effect.
#[derive(Debug)]
pub enum ApiError {
    /// All values that break a rule of their field. Nothing was sent or saved.
    Invalid(Vec<CommandError>),
    /// The request names another Space than the header. Nothing was read or sent.
    OtherSpace,
    /// The worker refused the command. Nothing was saved, and nothing will be. A command that expired can be
    /// sent again with the same id.
    Refused(Vec<CommandError>, CommandId),
    /// The queue is full. The command was not accepted and will not appear later.
    QueueFull,
    /// The command was not sent, or the broker returned it. Nothing was saved, and nothing will be.
    Unavailable,
    /// The time of the request was over before the command's turn. It was not sent, and nothing will be
    /// saved.
    TooLate(Kind),
    /// The database did not answer a read. Nothing changed.
    Unreadable,
    /// Large answers that are not sent yet use all the memory for them, of this subject or of all
    /// subjects. Nothing changed.
    AnswerMemoryFull(Full),
    /// The broker has stored the command, and no reply arrived in time. A worker will process it. The
    /// client can query its status, or send it again with the same id.
    Pending(Kind, CommandId),
    /// The command was written to the broker and not confirmed. It may or may not take effect.
    /// Sending it again with the same id is safe.
    Unknown(Kind, CommandId),
    /// An error of the gateway itself. Nothing was sent.
    Internal,
}

impl ApiError {
    /// Adds all errors to the response.
    fn report(self, context: &Context<'_>) {
        for error in self.errors() {
            let error = error.into_server_error(context.item.pos);
            context.add_error(context.set_error_path(error));
        }
    }

    fn errors(self) -> Vec<Error> {
        match self {
            Self::Invalid(errors) => errors.into_iter().map(command_error).collect(),
            Self::Refused(errors, id) => errors
                .into_iter()
                .map(|error| refused(error, &id))
                .collect(),
            Self::Pending(kind, id) => vec![without_outcome(
                Code::SavePending,
                &format!(
                    "The {} was accepted and is not decided yet. To wait for its answer, repeat it \
                     with the commandId as its Idempotency-Key: that is safe.",
                    noun(kind)
                ),
                &id,
            )],
            Self::Unknown(kind, id) => vec![without_outcome(
                Code::SaveUnknown,
                &format!(
                    "It is not known whether the {} was accepted; it may still take effect. \
                     Repeat it with the commandId as its Idempotency-Key: that is safe.",
                    noun(kind)
                ),
                &id,
            )],
            Self::OtherSpace => vec![command_error(CommandError {
                message: "catalogGuid is not the Space of the SPACE_GUID header; \
                          nothing was read or saved."
                    .to_owned(),
                ..CommandError::forbidden()
            })],
            not_sent => vec![not_sent.without_effect()],
        }
    }

    /// The error of a request that changed nothing and can be repeated.
    fn without_effect(self) -> Error {
        let (code, message) = match self {
            Self::QueueFull => (
                Code::QueueFull,
                "Too many saves are waiting. This one was not accepted and nothing was saved; \
                 repeating it later is safe.",
            ),
            Self::Unavailable => (
                Code::ServiceUnavailable,
                "Saves are not accepted at the moment. Nothing was saved; repeating is safe.",
            ),
            Self::TooLate(Kind::Save) => (
                Code::ServiceUnavailable,
                "The time of the request was over before this save was sent. It changed nothing; \
                 repeating it is safe.",
            ),
            Self::TooLate(Kind::Delete) => (
                Code::ServiceUnavailable,
                "The time of the request was over before this deletion was sent. It changed nothing; \
                 repeating it is safe.",
            ),
            Self::Unreadable => (
                Code::ServiceUnavailable,
                "Records can't be read at the moment. Nothing was changed; repeating is safe.",
            ),
            Self::AnswerMemoryFull(full) => (
                match full {
                    Full::Bearer => Code::RateLimited,
                    Full::All => Code::ServiceUnavailable,
                },
                "Too many large answers are being sent. Nothing was changed; repeating is safe.",
            ),
            _ => (
                Code::InternalServerError,
                "The gateway failed. Nothing was sent or saved; repeating is safe.",
            ),
        };
        simple(code, message, true)
    }
}

/// The value of a field. If there is none, the errors are added to the response, and the field becomes null. The
/// other fields of the document keep their values.
pub(super) fn or_report<T>(context: &Context<'_>, result: Result<T, ApiError>) -> Option<T> {
    result.map_err(|error| error.report(context)).ok()
}

/// The name of a kind of command in the texts for clients.
fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Save => "save",
        Kind::Delete => "deletion",
    }
}

/// Whether the same command may succeed later. A command that caused an error inside the worker would
/// probably cause it again, and the worker would park another copy of it.
fn may_succeed_later(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Expired)
}

/// An error of the worker. It names the command if the worker has parked a valid command.
fn refused(error: CommandError, id: &CommandId) -> Error {
    match error.code {
        ErrorCode::Expired => {
            let error = CommandError {
                field: None,
                message: EXPIRED.to_owned(),
                ..error
            };
            with_command_id(command_error(error), id)
        }
        ErrorCode::InternalServerError => with_command_id(command_error(error), id),
        _ => command_error(error),
    }
}

fn command_error(command_error: CommandError) -> Error {
    let (code, message) = (command_error.code, &command_error.message);
    let mut error = simple(Code::from(code), message, may_succeed_later(code));
    if let Some(extensions) = &mut error.extensions {
        if let Some(field) = command_error.field {
            extensions.set("field", field);
        }
        if let Some(key) = command_error.key {
            extensions.set("key", key);
        }
        if let Some(current) = command_error.current {
            extensions.set("currentRevision", current.revision);
            extensions.set("currentUpdatedAt", current.updated_at.and_then(rfc3339));
            extensions.set("currentUpdatedBy", current.updated_by);
        }
    }
    error
}

fn rfc3339(time: OffsetDateTime) -> Option<String> {
    time.format(&Rfc3339).ok()
}

/// An error for a command whose outcome is not known yet.
fn without_outcome(code: Code, message: &str, id: &CommandId) -> Error {
    with_command_id(simple(code, message, true), id)
}

fn with_command_id(mut error: Error, id: &CommandId) -> Error {
    if let Some(extensions) = &mut error.extensions {
        extensions.set("commandId", id.as_str());
    }
    error
}

fn simple(code: Code, message: &str, retryable: bool) -> Error {
    Error {
        message: message.to_owned(),
        source: None,
        extensions: Some(extensions(code.as_str(), retryable)),
    }
}

/// The extensions that every error of the gateway has.
pub(crate) fn extensions(code: &str, retryable: bool) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    extensions.set("retryable", retryable);
    extensions
}

/// The error's code, if the gateway made the error.
pub(crate) fn code(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
