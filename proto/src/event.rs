//! Events: `ConnectorDetailsSaved.v1` and `ConnectorDetailsDeleted.v1`. They are published after the
//! commit, at least once, and in order for each record. They hold no secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{amqp::topology, record::Record};

/// The `type` of the event that follows a save.
pub const SAVED_TYPE: &str = "ConnectorDetailsSaved.v1";
/// The `type` of the event that follows a deletion.
pub const DELETED_TYPE: &str = "ConnectorDetailsDeleted.v1";

/// A record was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorDetailsSaved {
    /// The command that did it.
    pub command_id: String,
    /// The record as it left it.
    pub record: Record,
}

/// A record was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorDetailsDeleted {
    /// The command that did it.
    pub command_id: String,
    /// The record as it was.
    pub record: Record,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub deleted_at: OffsetDateTime,
    /// By whom: the token's subject, else the publisher's broker user, else its `app_id`.
    pub deleted_by: Option<String>,
}

/// A change of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The record was saved.
    Saved(ConnectorDetailsSaved),
    /// The record was deleted.
    Deleted(ConnectorDetailsDeleted),
}

impl Event {
    /// Decodes the body of a message of this type. `None` if the type is not one of the two.
    ///
    /// # Errors
    /// The body is not an event of this type.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(match kind {
            SAVED_TYPE => Some(Self::Saved(serde_json::from_slice(body)?)),
            DELETED_TYPE => Some(Self::Deleted(serde_json::from_slice(body)?)),
            _ => None,
        })
    }

    /// The body of the message.
    ///
    /// # Errors
    /// Never for these types. The encoder's signature has an error.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Saved(saved) => serde_json::to_vec(saved),
            Self::Deleted(deleted) => serde_json::to_vec(deleted),
        }
    }

    /// The `type` property of the message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Saved(_) => SAVED_TYPE,
            Self::Deleted(_) => DELETED_TYPE,
        }
    }

    /// The routing key at the exchange for events.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        match self {
            Self::Saved(_) => topology::SAVED,
            Self::Deleted(_) => topology::DELETED,
        }
    }

    /// The record that was changed.
    #[must_use]
    pub fn record(&self) -> &Record {
        match self {
            Self::Saved(saved) => &saved.record,
            Self::Deleted(deleted) => &deleted.record,
        }
    }

    /// The `message_id`, which is the same when the event is repeated: the record's id and the revision after
    /// the change. A deletion counts as a revision.
    #[must_use]
    pub fn id(&self) -> String {
        let Record { id, revision, .. } = self.record();
        match self {
            Self::Saved(_) => format!("{id}:{revision}"),
            Self::Deleted(_) => format!("{id}:{}", revision + 1),
        }
    }
}
