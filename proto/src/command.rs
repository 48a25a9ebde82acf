//! The two commands, and their common parts.

mod delete;
mod input;
mod kind;
pub(crate) mod raw;
mod revision;
mod save;

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{Envelope, error::CommandError, fields::CommandId, record::RecordKey};

pub use delete::DeleteConnectorDetails;
pub use input::SaveInput;
pub use kind::Kind;
pub use revision::ExpectedRevision;
pub(crate) use revision::exact_number;
pub use save::SaveConnectorDetails;

/// The largest body that is read, in bytes. Every valid command fits, even if each of its bytes is
/// written as an escape of six characters.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A command that is valid and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Upserts a record.
    Save(SaveConnectorDetails),
    /// Ends a record.
    Delete(DeleteConnectorDetails),
}

impl Command {
    /// Decodes and validates a message. The body is not read if the properties don't say which command it is.
    ///
    /// # Errors
    /// All errors at once, those of the properties first.
    pub fn read<'a>(
        envelope: &'a Envelope,
        body: &[u8],
    ) -> Result<(&'a CommandId, Self), Vec<CommandError>> {
        let checked = envelope.check();
        let decoded = envelope.body_kind().map(|kind| Self::decode(kind, body));
        match (checked, decoded) {
            (Ok((_, id)), Some(Ok(command))) => Ok((id, command)),
            (checked, decoded) => {
                let mut errors = checked.err().unwrap_or_default();
                errors.extend(decoded.and_then(Result::err).unwrap_or_default());
                Err(errors)
            }
        }
    }

    /// Decodes and validates the body of a message.
    ///
    /// # Errors
    /// See [`SaveConnectorDetails::decode`] and [`DeleteConnectorDetails::decode`].
    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, Vec<CommandError>> {
        match kind {
            Kind::Save => SaveConnectorDetails::decode(body).map(Self::Save),
            Kind::Delete => DeleteConnectorDetails::decode(body).map(Self::Delete),
        }
    }

    /// The body of the message.
    ///
    /// # Errors
    /// Never for these types. The encoder's signature has an error.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Save(save) => serde_json::to_vec(save),
            Self::Delete(delete) => serde_json::to_vec(delete),
        }
    }

    /// The kind of command.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Save(_) => Kind::Save,
            Self::Delete(_) => Kind::Delete,
        }
    }

    /// The key of the record.
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        match self {
            Self::Save(save) => &save.key,
            Self::Delete(delete) => &delete.key,
        }
    }

    /// The revision that the record must have, if the command expects one.
    #[must_use]
    pub fn expected_revision(&self) -> Option<ExpectedRevision> {
        match self {
            Self::Save(save) => save.expected_revision,
            Self::Delete(delete) => delete.expected_revision,
        }
    }

    /// A hash of the content, which is the same for a repeat and differs for another command with the same
    /// id.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Save(save) => save.fingerprint(),
            Self::Delete(delete) => delete.fingerprint(),
        }
    }
}

/// SHA-256 of a command's validated and masked fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of<'a>(fields: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for field in fields {
            // With the length in front, two different lists of fields never give the same bytes.
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Writes the five ids next to the other fields. Only in memory they are one value.
mod key_fields {
    use serde::{Serialize, Serializer};

    use crate::record::RecordKey;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields<'a> {
        integration_pack_instance_id: &'a str,
        process_id: &'a str,
        env_id: &'a str,
        connection_id: &'a str,
        catalog_guid: &'a str,
    }

    pub(super) fn serialize<S: Serializer>(
        key: &RecordKey,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Fields {
            integration_pack_instance_id: key.integration_pack_instance_id.as_str(),
            process_id: key.process_id.as_str(),
            env_id: key.env_id.as_str(),
            connection_id: key.connection_id.as_str(),
            catalog_guid: key.catalog_guid.as_str(),
        }
        .serialize(serializer)
    }
}
