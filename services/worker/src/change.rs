//! A valid command, as `queue` passes it to `process` and `process` to `store`.

use proto::{Command, CommandId, Fingerprint, Kind};

/// A valid command with the data that the ledger stores about it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The command's id, unique in its Space.
    pub command_id: CommandId,
    /// The save or the deletion.
    pub command: Command,
    /// The fingerprint of `command`.
    pub fingerprint: Fingerprint,
    /// The author, if known.
    pub updated_by: Option<String>,
    /// The publishing service, as it names itself in `app_id`. The broker does not check it.
    pub source: Option<String>,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

impl Change {
    /// Approximate size of this command in a statement, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.command {
            Command::Save(save) => save.oauth_connector_details.as_str().len(),
            Command::Delete(_) => 0,
        }
    }

    /// Whether this is a save without an expected revision. Nearly all commands are such saves. A cheaper
    /// statement stores them, because it does not have to compare revisions.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.command.kind() == Kind::Save && self.command.expected_revision().is_none()
    }
}
