//! Replies: the outcome of one command, or a list of outcomes in one message for publishers that set
//! `x-pack-replies`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, Kind, error::CommandError, record::Record};

/// The `type` property of a reply.
pub const TYPE: &str = "SaveConnectorDetailsReply.v1";

/// The `type` property of a reply to a deletion. The body has the same form as a reply to a save.
pub const DELETE_TYPE: &str = "DeleteConnectorDetailsReply.v1";

/// The `type` property of the reply to this message. A message that is not a command gets the reply type
/// of a save.
#[must_use]
pub fn kind_of(envelope: &Envelope) -> &'static str {
    match envelope.kind.as_deref() {
        Some(kind) if kind == Kind::Delete.as_str() => DELETE_TYPE,
        _ => TYPE,
    }
}

/// The `type` property of a message with several replies. Its body is a list of [`BatchedReply`].
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
    /// A refusal with one error.
    #[must_use]
    pub fn refused(error: CommandError) -> Self {
        Self::Refused {
            errors: vec![error],
        }
    }
}

/// The form in which a reply is deserialised. serde's derived code for an enum in a flattened struct
/// would copy each reply three times.
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
