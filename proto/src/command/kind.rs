//! The kinds of commands: their `type` property and their routing key.

use crate::amqp::topology;

/// The kind of a command, which the `type` property names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `SaveConnectorDetails.v1`.
    Save,
    /// `DeleteConnectorDetails.v1`.
    Delete,
}

impl Kind {
    /// The `type` property.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Save => "SaveConnectorDetails.v1",
            Self::Delete => "DeleteConnectorDetails.v1",
        }
    }

    /// The routing key at the exchange for commands.
    #[must_use]
    pub const fn routing_key(self) -> &'static str {
        match self {
            Self::Save => topology::SAVE,
            Self::Delete => topology::DELETE,
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Save, Self::Delete]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}
