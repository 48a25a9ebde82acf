//! What happened to a record, for other services: `ConnectorDetailsSaved.v1` and
//! `ConnectorDetailsDeleted.v1`. Told after the commit, at least once, in order for each record. A
//! secret is in none of them.

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

/// Something that happened to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was saved.
    Saved(ConnectorDetailsSaved),
    /// It was deleted.
    Deleted(ConnectorDetailsDeleted),
}

impl Event {
    /// Reads a message of this type.
    ///
    /// # Errors
    /// It has another form; of another type: none.
    pub fn decode(kind: &str, body: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(match kind {
            SAVED_TYPE => Some(Self::Saved(serde_json::from_slice(body)?)),
            DELETED_TYPE => Some(Self::Deleted(serde_json::from_slice(body)?)),
            _ => None,
        })
    }

    /// The body of its message.
    ///
    /// # Errors
    /// None that the types allow; the signature is the encoder's.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Saved(saved) => serde_json::to_vec(saved),
            Self::Deleted(deleted) => serde_json::to_vec(deleted),
        }
    }

    /// The `type` of its message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Saved(_) => SAVED_TYPE,
            Self::Deleted(_) => DELETED_TYPE,
        }
    }

    /// Its routing key at the events' exchange.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        match self {
            Self::Saved(_) => topology::SAVED,
            Self::Deleted(_) => topology::DELETED,
        }
    }

    /// The record that it is about.
    #[must_use]
    pub fn record(&self) -> &Record {
        match self {
            Self::Saved(saved) => &saved.record,
            Self::Deleted(deleted) => &deleted.record,
        }
    }

    /// What a repeat of it is known by: the record and the revision that came of it. A deletion is a
    /// revision, too.
    #[must_use]
    pub fn id(&self) -> String {
        let Record { id, revision, .. } = self.record();
        match self {
            Self::Saved(_) => format!("{id}:{revision}"),
            Self::Deleted(_) => format!("{id}:{}", revision + 1),
        }
    }
}
