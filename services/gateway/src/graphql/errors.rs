//! Everything that a save or a read can fail with, as the client sees it.
//!
//! Not `Display`, on purpose: async-graphql turns every `Display` error into a client's message,
//! without a code, and `?` on a database error would show the database's own words.

use async_graphql::{Context, Error, ErrorExtensionValues, ServerError, Value};
use proto::{CommandError, CommandId};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{error_code::Code, limits::Full};

/// The whole public list. Each variant's doc says what it leaves behind.
#[derive(Debug)]
pub enum ApiError {
    /// Values that break their rules, all of them. Nothing was sent or saved.
    Invalid(Vec<CommandError>),
    /// A valid request about another Space than the header's. Nothing was looked at.
    OtherSpace,
    /// The worker refused the command. Nothing was saved, and nothing will be.
    Refused(Vec<CommandError>),
    /// The queue is full. The command was not accepted and will not appear later.
    QueueFull,
    /// No byte left for the broker, or the broker refused it. Nothing was saved, and nothing
    /// will be.
    Unavailable,
    /// The database did not answer a read. Nothing changed.
    Unreadable,
    /// Large answers that are not sent yet take all the memory for them: those of this bearer, or of
    /// all. Nothing changed.
    Crowded(Full),
    /// The broker has the command, and no answer came in time. It will be decided; ask, or
    /// repeat with the same id.
    Pending(CommandId),
    /// Written to the broker and never confirmed. It may or may not arrive; repeating with the
    /// same id is safe.
    Unknown(CommandId),
    /// A fault of the gateway itself. Nothing was sent.
    Internal,
}

impl ApiError {
    /// Adds the errors to the response, all of them. The field itself is null then, and the
    /// other fields of the document keep their answers.
    pub fn report(self, context: &Context<'_>) {
        for error in self.errors() {
            let error = error.into_server_error(context.item.pos);
            context.add_error(context.set_error_path(error));
        }
    }

    fn errors(self) -> Vec<Error> {
        match self {
            Self::Invalid(faults) | Self::Refused(faults) => {
                faults.into_iter().map(fault).collect()
            }
            Self::OtherSpace => vec![fault(CommandError {
                message: "catalogGuid is not the Space of the SPACE_GUID header; \
                          nothing was read or saved."
                    .to_owned(),
                ..CommandError::forbidden()
            })],
            Self::QueueFull => vec![simple(
                Code::QueueFull.as_str(),
                "Too many saves are waiting. This one was not accepted and nothing was saved; \
                 repeating it later is safe.",
                true,
            )],
            Self::Unavailable => vec![simple(
                Code::ServiceUnavailable.as_str(),
                "Saves are not accepted at the moment. Nothing was saved; repeating is safe.",
                true,
            )],
            Self::Unreadable => vec![simple(
                Code::ServiceUnavailable.as_str(),
                "Records can't be read at the moment. Nothing was changed; repeating is safe.",
                true,
            )],
            Self::Crowded(full) => vec![simple(
                match full {
                    Full::Bearer => Code::RateLimited.as_str(),
                    Full::All => Code::ServiceUnavailable.as_str(),
                },
                "Too many large answers are being sent. Nothing was changed; repeating is safe.",
                true,
            )],
            Self::Pending(id) => vec![undecided(
                Code::SavePending,
                "The save was accepted and is not decided yet; it will be. To wait for its \
                 answer, repeat it with the commandId as its Idempotency-Key: that is safe.",
                &id,
            )],
            Self::Unknown(id) => vec![undecided(
                Code::SaveUnknown,
                "It is not known whether the save was accepted; it may still take effect. Repeat \
                 it with the commandId as its Idempotency-Key: that is safe.",
                &id,
            )],
            Self::Internal => vec![simple(
                Code::InternalServerError.as_str(),
                "The gateway failed. Nothing was sent or saved; repeating is safe.",
                true,
            )],
        }
    }
}

fn fault(fault: CommandError) -> Error {
    let mut error = simple(fault.code.as_str(), &fault.message, false);
    if let Some(extensions) = &mut error.extensions {
        if let Some(field) = fault.field {
            extensions.set("field", field);
        }
        if let Some(key) = fault.key {
            extensions.set("key", key);
        }
        if let Some(current) = fault.current {
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

fn undecided(code: Code, message: &str, id: &CommandId) -> Error {
    let mut error = simple(code.as_str(), message, true);
    if let Some(extensions) = &mut error.extensions {
        extensions.set("commandId", id.as_str());
    }
    error
}

fn simple(code: &str, message: &str, retryable: bool) -> Error {
    Error {
        message: message.to_owned(),
        source: None,
        extensions: Some(extensions(code, retryable)),
    }
}

/// What every error of the gateway carries.
pub(crate) fn extensions(code: &str, retryable: bool) -> ErrorExtensionValues {
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code);
    extensions.set("retryable", retryable);
    extensions
}

/// The error's code, where the gateway gave it one.
pub(crate) fn code(error: &ServerError) -> Option<&str> {
    match error.extensions.as_ref()?.get("code")? {
        Value::String(code) => Some(code),
        _ => None,
    }
}
