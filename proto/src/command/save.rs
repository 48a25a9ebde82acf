//! `SaveConnectorDetails.v1`: the one door through which a save is decoded, checked and masked,
//! by the gateway, the worker and everyone else alike.

use serde::Serialize;

use super::{
    ExpectedRevision, Fingerprint, SaveInput, key_fields,
    raw::{RawSave, all_faults, in_published_order},
};
use crate::{
    details::OauthConnectorDetails,
    error::CommandError,
    fields::ClientId,
    record::{RecordKey, ok},
    secret::ClientSecret,
};

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
    /// The revision that the record has to have, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<ExpectedRevision>,
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
    pub fn new(input: SaveInput) -> Result<Self, Vec<CommandError>> {
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
        let expected = input.expected_revision.map(ExpectedRevision::new);
        let expected = ok(expected.transpose(), &mut faults);
        let details = OauthConnectorDetails::new(
            &input.oauth_connector_details,
            secret.as_ref().unwrap_or(&ClientSecret::default()),
            client_id.as_ref(),
        )
        .map_err(|found| faults.extend(found))
        .ok();
        match (key, details, client_id, secret, expected) {
            (
                Some(key),
                Some(oauth_connector_details),
                Some(client_id),
                Some(_),
                Some(expected_revision),
            ) => Ok(Self {
                key,
                is_token_generated: input.is_token_generated,
                oauth_connector_details,
                client_id,
                client_secret: Mask,
                expected_revision,
            }),
            _ => Err(in_published_order(faults)),
        }
    }

    /// Decodes a message body: the mutation's input as JSON, with the same names.
    ///
    /// # Errors
    /// One fault where the body is too large, is no JSON object or has a field that the input does
    /// not know (an older worker must not drop what a newer publisher meant); else all fields that
    /// are missing or of another type, and all values that break a rule.
    pub fn decode(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        let mut faults = Vec::new();
        let input = RawSave::read(body)?.into_input(&mut faults);
        all_faults(faults, Self::new(input))
    }

    /// What the command says, for telling a repeat from another command under the same id.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let expected = self
            .expected_revision
            .map(|revision| revision.get().to_string());
        let fields = [
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
        ];
        Fingerprint::of(fields.into_iter().chain(expected.as_deref()))
    }
}
