//! `SaveConnectorDetails.v1`: the one door through which a save is decoded, checked and masked,
//! by the gateway, the worker and everyone else alike.

use std::fmt;

use secrecy::SecretString;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    details::OauthConnectorDetails,
    error::Fault,
    fields::ClientId,
    record::{RecordKey, ok},
    secret::ClientSecret,
    wire::{Wire, in_published_order},
};

/// The nine fields as they were submitted, of the right type and otherwise unchecked.
#[derive(Default)]
pub struct SaveInput {
    /// The Integration Pack instance.
    pub integration_pack_instance_id: String,
    /// Whether the access token has been generated.
    pub is_token_generated: bool,
    /// The JSON text of the details.
    pub oauth_connector_details: String,
    /// The process in the Integration Pack.
    pub process_id: String,
    /// The environment of the configuration.
    pub env_id: String,
    /// The connection in the process.
    pub connection_id: String,
    /// The Space.
    pub catalog_guid: String,
    /// The key from the identity provider.
    pub client_id: String,
    /// The secret as the user entered it, or the mask.
    pub client_secret: SecretString,
}

/// A save that is valid and masked. Written out, it is the mutation's input as JSON, with
/// `dummyClientSecret` for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaveConnectorDetails {
    /// What identifies the record.
    #[serde(flatten, with = "key_fields")]
    pub key: RecordKey,
    /// Whether the access token has been generated.
    pub is_token_generated: bool,
    /// The details, masked.
    pub oauth_connector_details: OauthConnectorDetails,
    /// The key from the identity provider.
    pub client_id: ClientId,
    /// What is left of the secret.
    client_secret: Mask,
}

/// Writes [`crate::MASK`]: the only thing that a checked command knows of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mask;

impl Serialize for Mask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ClientSecret::default().serialize(serializer)
    }
}

impl SaveConnectorDetails {
    /// Checks every field and masks every secret.
    ///
    /// # Errors
    /// All faults of all fields, in the order of the published input.
    pub fn new(input: SaveInput) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let key = RecordKey::new(
            input.catalog_guid,
            input.integration_pack_instance_id,
            input.process_id,
            input.env_id,
            input.connection_id,
        )
        .map_err(|found| faults.extend(found))
        .ok();
        let client_id = ok(ClientId::new(input.client_id), &mut faults);
        let secret = ok(ClientSecret::new(input.client_secret), &mut faults);
        let details = OauthConnectorDetails::new(
            &input.oauth_connector_details,
            secret.as_ref().unwrap_or(&ClientSecret::default()),
            client_id.as_ref(),
        )
        .map_err(|found| faults.extend(found))
        .ok();
        match (key, details, client_id, secret) {
            (Some(key), Some(oauth_connector_details), Some(client_id), Some(_)) => Ok(Self {
                key,
                is_token_generated: input.is_token_generated,
                oauth_connector_details,
                client_id,
                client_secret: Mask,
            }),
            _ => Err(in_published_order(faults)),
        }
    }

    /// Decodes a message body: the mutation's input as JSON, with the same names.
    ///
    /// # Errors
    /// One fault where the body is no JSON object or has a field that the input does not know
    /// (an older worker must not drop what a newer publisher meant); else all missing fields and
    /// wrong types; else all faults of values.
    pub fn decode(body: &[u8]) -> Result<Self, Vec<Fault>> {
        Self::new(Wire::read(body)?.into_input()?)
    }

    /// The body of the message.
    ///
    /// # Errors
    /// None that the types allow; the signature is the encoder's.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// What the command says, for telling a repeat from another command under the same id.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for field in [
            self.key.catalog_guid.as_str(),
            self.key.integration_pack_instance_id.as_str(),
            self.key.process_id.as_str(),
            self.key.env_id.as_str(),
            self.key.connection_id.as_str(),
            if self.is_token_generated {
                "true"
            } else {
                "false"
            },
            self.oauth_connector_details.as_str(),
            self.client_id.as_str(),
        ] {
            // The length first, so that no two lists of fields run together to the same bytes.
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        }
        Fingerprint(hash.finalize().into())
    }
}

/// SHA-256 of a command's validated and masked fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The five ids stand beside the other fields on the wire; only in memory are they one thing.
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
