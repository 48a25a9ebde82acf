//! `SaveConnectorDetailsReply.v1`: what became of a command; and several of them in one message,
//! `SaveConnectorDetailsReplies.v1`, for publishers that ask for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, Kind, error::CommandError, record::Record};

/// The `type` property of a reply.
pub const TYPE: &str = "SaveConnectorDetailsReply.v1";

/// The `type` property of a reply to a deletion. The body has the same form.
pub const DELETE_TYPE: &str = "DeleteConnectorDetailsReply.v1";

/// The `type` property of the reply to a message; what is no command is answered as a save is.
#[must_use]
pub fn kind_of(envelope: &Envelope) -> &'static str {
    match envelope.kind.as_deref() {
        Some(kind) if kind == Kind::Delete.as_str() => DELETE_TYPE,
        _ => TYPE,
    }
}

/// The `type` property of a message with several replies; its body is a list of [`BatchedReply`].
pub const PACKED_TYPE: &str = "SaveConnectorDetailsReplies.v1";

/// One of several replies in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchedReply {
    /// What a message of its own would have as its property.
    pub correlation_id: Option<String>,
    /// What a message of its own would have as its body.
    pub reply: Reply,
}

/// The body of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "Flat")]
pub struct Reply {
    /// The command's id; none where the message had no id that could be read.
    pub command_id: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The ends of a command. A command that can't be decided yet has no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// Committed. A repeat of the command is answered the same.
    Saved {
        /// The record as this command left it, whatever was saved after it.
        record: Record,
    },
    /// Committed: the record is gone, and its history stays.
    Deleted {
        /// The record as it was; none where there was none.
        record: Option<Record>,
    },
    /// Nothing was changed, and nothing will be.
    Refused {
        /// All that is wrong, at least one.
        errors: Vec<CommandError>,
    },
}

impl Outcome {
    /// A refusal for one reason.
    #[must_use]
    pub fn refused(fault: CommandError) -> Self {
        Self::Refused {
            errors: vec![fault],
        }
    }
}

/// A reply as it is read. Derived, an enum inside a flattened struct is copied three times on the
/// way in.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Flat {
    command_id: Option<String>,
    outcome: OutcomeName,
    record: Option<Record>,
    errors: Option<Vec<CommandError>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum OutcomeName {
    Saved,
    Deleted,
    Refused,
}

impl TryFrom<Flat> for Reply {
    type Error = &'static str;

    fn try_from(flat: Flat) -> Result<Self, Self::Error> {
        let outcome = match (flat.outcome, flat.record, flat.errors) {
            (OutcomeName::Saved, Some(record), _) => Outcome::Saved { record },
            (OutcomeName::Saved, None, _) => return Err("saved, and no record"),
            (OutcomeName::Deleted, record, _) => Outcome::Deleted { record },
            (OutcomeName::Refused, _, Some(errors)) => Outcome::Refused { errors },
            (OutcomeName::Refused, _, None) => return Err("refused, and no errors"),
        };
        Ok(Self {
            command_id: flat.command_id,
            outcome,
        })
    }
}
