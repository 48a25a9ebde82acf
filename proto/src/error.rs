//! The errors of commands, with the codes and messages that clients receive.
//!
//! A message never quotes a submitted value: it may be a secret that was typed into the wrong field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The name of the field that holds the expected revision, in the API and on the wire.
pub(crate) const EXPECTED_REVISION: &str = "expectedRevision";

/// The error codes of the gateway that a reply can carry too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The message is not a command at all: no JSON object, no id, another type, or a property that
    /// the contract forbids.
    BadRequest,
    /// A field is missing, of the wrong type or out of its limits.
    BadUserInput,
    /// The publisher may not write to this Space.
    Forbidden,
    /// The command's id was used before for other content, or the record has another revision
    /// than the command expected.
    Conflict,
    /// The command waited for longer than its `expiration` allows, and is not applied.
    Expired,
    /// The command is valid and could not be stored; a fault of the service, not of the command.
    InternalServerError,
}

impl ErrorCode {
    /// The code as it is written in `extensions.code`, in a reply and in `x-reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "BAD_REQUEST",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::Forbidden => "FORBIDDEN",
            Self::Conflict => "CONFLICT",
            Self::Expired => "EXPIRED",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
        }
    }
}

/// One thing that is wrong. A command is refused with all of its faults at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandError {
    /// What kind of fault it is.
    pub code: ErrorCode,
    /// The field of the published input that has to change, such as `envId`; a message property
    /// such as `message_id`; `body`, where it is too large; or none, where the message as a whole is
    /// at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Of a fault inside of `oauthConnectorDetails`: the key of its object that has to change, such
    /// as `baseURL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// One sentence for a person. It names the field and the rule, never the value.
    pub message: String,
    /// Of a conflict about the record's revision: what the record was when that was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<Current>>,
}

/// A record as a command found it that expected another revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// Its revision; 0 where there was none.
    pub revision: i64,
    /// When it was saved last.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub updated_at: Option<OffsetDateTime>,
    /// By whom.
    pub updated_by: Option<String>,
}

impl CommandError {
    /// A value that breaks a rule of its field. `rule` completes a sentence that starts with the name of
    /// the field, such as `must not be blank`.
    #[must_use]
    pub fn value(field: &'static str, rule: &str) -> Self {
        Self {
            code: ErrorCode::BadUserInput,
            field: Some(field.to_owned()),
            message: format!("{field} {rule}."),
            key: None,
            current: None,
        }
    }

    /// A message that is not a command.
    #[must_use]
    pub fn undecodable(field: Option<&'static str>, message: &str) -> Self {
        Self {
            code: ErrorCode::BadRequest,
            field: field.map(ToOwned::to_owned),
            message: message.to_owned(),
            key: None,
            current: None,
        }
    }

    /// A Space that the publisher may not write to.
    #[must_use]
    pub fn forbidden() -> Self {
        Self {
            code: ErrorCode::Forbidden,
            field: Some("catalogGuid".to_owned()),
            message:
                "catalogGuid is not a Space that this publisher may write to; nothing was changed."
                    .to_owned(),
            key: None,
            current: None,
        }
    }

    /// A command id that was used before with other content.
    #[must_use]
    pub fn conflict() -> Self {
        Self {
            code: ErrorCode::Conflict,
            field: None,
            message: "This command id was used before with other content; nothing was changed. \
                      Send the changed content under a new id."
                .to_owned(),
            key: None,
            current: None,
        }
    }

    /// The record does not have the expected revision.
    #[must_use]
    pub fn stale(current: Current) -> Self {
        Self {
            code: ErrorCode::Conflict,
            field: Some(EXPECTED_REVISION.to_owned()),
            message: "expectedRevision is not the record's revision: it was changed meanwhile. \
                      Nothing was changed now. Read it again, and send what is still wanted under a \
                      new id."
                .to_owned(),
            key: None,
            current: Some(current.into()),
        }
    }

    /// The `expiration` of the command passed before a worker received it.
    #[must_use]
    pub fn expired() -> Self {
        Self {
            code: ErrorCode::Expired,
            field: Some("expiration".to_owned()),
            message: "The command expired before a worker took it, and is not applied. Send it \
                      again, with the same id and without expiration."
                .to_owned(),
            key: None,
            current: None,
        }
    }

    /// The database refuses a valid command.
    #[must_use]
    pub fn internal() -> Self {
        Self {
            code: ErrorCode::InternalServerError,
            field: None,
            message: "The command could not be stored and was set aside for an operator; \
                      nothing was changed. Repeating it with the same id is safe, but it fails again \
                      until the cause is removed."
                .to_owned(),
            key: None,
            current: None,
        }
    }
}
