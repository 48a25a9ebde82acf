//! A valid command, as `queue` hands it to `process` and `process` to `store`.

use proto::{Command, CommandId, Fingerprint, Kind};

/// A checked command and what the ledger keeps about it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The command's id, unique in its Space.
    pub command_id: CommandId,
    /// What to do.
    pub command: Command,
    /// Of `command`.
    pub fingerprint: Fingerprint,
    /// The author, as far as known.
    pub updated_by: Option<String>,
    /// The publishing service, by its own word.
    pub source: Option<String>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

impl Change {
    /// About how many bytes its statement takes for it.
    pub(crate) fn bytes(&self) -> usize {
        match &self.command {
            Command::Save(save) => save.oauth_connector_details.as_str().len(),
            Command::Delete(_) => 0,
        }
    }

    /// Whether it takes effect whatever the record is: nearly all do, and their statement is the
    /// cheaper one.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.command.kind() == Kind::Save && self.command.expected_revision().is_none()
    }
}
