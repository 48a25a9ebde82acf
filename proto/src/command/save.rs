//! `SaveConnectorDetails.v1`: decodes, validates and masks a save. Both the gateway and the worker use this code,
//! so that both decide the same.

use serde::Serialize;

use super::{
    ExpectedRevision, Fingerprint, SaveInput, key_fields,
    raw::{RawSave, all_errors, in_published_order},
};
use crate::{
    details::OauthConnectorDetails,
    error::CommandError,
    fields::ClientId,
    record::{RecordKey, ok},
    secret::ClientSecret,
};

/// A valid save without secrets. As JSON it is the input of the mutation, with `dummyClientSecret` as the
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaveConnectorDetails {
    /// The key of the record.
    #[serde(flatten, with = "key_fields")]
    pub key: RecordKey,
    /// Whether the access token has been generated.
    pub is_token_generated: bool,
    /// The details, masked.
    pub oauth_connector_details: OauthConnectorDetails,
    /// The key from the identity provider.
    pub client_id: ClientId,
    /// The mask, which is written in the place of the secret.
    client_secret: Mask,
    /// The revision that the record must have, if the command expects one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_revision: Option<ExpectedRevision>,
}

/// Is written as [`crate::MASK`]. A validated command does not keep its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mask;

impl Serialize for Mask {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ClientSecret::default().serialize(serializer)
    }
}

impl SaveConnectorDetails {
    /// Validates every field and masks every secret.
    ///
    /// # Errors
    /// All errors of all fields, in the order of the fields in the contract.
    pub fn new(input: SaveInput) -> Result<Self, Vec<CommandError>> {
        let mut errors = Vec::new();
        let key = RecordKey::new(
            input.catalog_guid,
            input.integration_pack_instance_id,
            input.process_id,
            input.env_id,
            input.connection_id,
        )
        .map_err(|found| errors.extend(found))
        .ok();
        let client_id = ok(ClientId::new(input.client_id), &mut errors);
        let secret = ok(ClientSecret::new(input.client_secret), &mut errors);
        let expected = input.expected_revision.map(ExpectedRevision::new);
        let expected = ok(expected.transpose(), &mut errors);
        let details = OauthConnectorDetails::new(
            &input.oauth_connector_details,
            secret.as_ref().unwrap_or(&ClientSecret::default()),
            client_id.as_ref(),
        )
        .map_err(|found| errors.extend(found))
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
            _ => Err(in_published_order(errors)),
        }
    }

    /// Decodes and validates a message body, which has the fields of the mutation's input.
    ///
    /// # Errors
    /// One error if the body is too large, is not a JSON object, or has an unknown field. An unknown field is
    /// an error because an older worker would otherwise drop a field of a newer publisher without notice.
    /// Else one error for each field that is missing, of another type, or breaks a rule.
    pub fn decode(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        let mut errors = Vec::new();
        let input = RawSave::read(body)?.into_input(&mut errors);
        all_errors(errors, Self::new(input))
    }

    /// A hash of the content, which is the same for a repeat and differs for another command with the same
    /// id. The secret is not part of it.
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
