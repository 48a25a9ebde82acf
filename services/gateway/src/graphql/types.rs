//! The types of the published API.

use async_graphql::{InputObject, SimpleObject};
use proto::{CommandError, Record, RecordKey};
use time::OffsetDateTime;

/// What is saved for the connector of a process in an Integration Pack instance.
#[derive(InputObject)]
#[graphql(name = "SaveIPackInstanceOauthConnectorDetailsInput")]
pub struct SaveDetailsInput {
    /// The Integration Pack instance: opaque, 1 to 255 bytes, no control characters.
    pub(super) integration_pack_instance_id: String,
    /// Whether the access token has been generated.
    pub(super) is_token_generated: bool,
    /// A JSON object with what is needed to generate the access token at the identity provider:
    /// baseURL, companyId, clientId (strings), authParams, accessTokenParams (objects); other
    /// keys are kept. At most 64 KiB, nested at most 32 deep. Secrets in it are masked.
    #[graphql(secret)]
    pub(super) oauth_connector_details: String,
    /// The process in the Integration Pack: opaque, 1 to 255 bytes, no control characters.
    pub(super) process_id: String,
    /// The environment of the configuration: opaque, 1 to 255 bytes, no control characters.
    pub(super) env_id: String,
    /// The connection in the process: opaque, 1 to 255 bytes, no control characters.
    pub(super) connection_id: String,
    /// The Space's guid, the same as in the SPACE_GUID header.
    pub(super) catalog_guid: String,
    /// The key from the identity provider: 1 to 1,024 bytes, no control characters.
    pub(super) client_id: String,
    /// The client secret, at most 16 KiB. It is not kept: dummyClientSecret is stored, and may be
    /// sent, in its place.
    #[graphql(secret)]
    pub(super) client_secret: String,
}

/// What identifies a record.
#[derive(InputObject)]
#[graphql(name = "IPackInstanceOAuthConnectorDetailsInput")]
pub struct FindDetailsInput {
    /// The Integration Pack instance.
    pub(super) integration_pack_instance_id: String,
    /// The environment of the configuration.
    pub(super) env_id: String,
    /// The process in the Integration Pack.
    pub(super) process_id: String,
    /// The connection in the process.
    pub(super) connection_id: String,
    /// The Space's guid, the same as in the SPACE_GUID header.
    pub(super) catalog_guid: String,
}

/// The stored connector details. The client secret is never part of them.
#[derive(SimpleObject)]
#[expect(clippy::struct_field_names, reason = "the published names")]
#[graphql(name = "IPackInstanceOauthConnectorDetails")]
pub struct ConnectorDetails {
    /// A UUID that the first save gave the record; it never changes.
    id: String,
    /// The Integration Pack instance.
    pub(super) integration_pack_instance_id: String,
    /// Whether the access token has been generated.
    pub(super) is_token_generated: bool,
    /// The JSON object as it was saved, byte for byte, but for the secrets in it, each of which is
    /// dummyClientSecret.
    pub(super) oauth_connector_details: String,
    /// The process in the Integration Pack.
    pub(super) process_id: String,
    /// The environment of the configuration.
    pub(super) env_id: String,
    /// The connection in the process.
    pub(super) connection_id: String,
    /// The Space's guid.
    pub(super) catalog_guid: String,
    /// The key from the identity provider.
    pub(super) client_id: String,
    /// 1 at the first save and one more with each that took effect.
    revision: i64,
    /// When the last save took effect.
    updated_at: OffsetDateTime,
    /// Who made the last save: a token's subject, or the service that published it.
    updated_by: Option<String>,
}

impl From<Record> for ConnectorDetails {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            integration_pack_instance_id: record.integration_pack_instance_id,
            is_token_generated: record.is_token_generated,
            oauth_connector_details: record.oauth_connector_details,
            process_id: record.process_id,
            env_id: record.env_id,
            connection_id: record.connection_id,
            catalog_guid: record.catalog_guid,
            client_id: record.client_id,
            revision: record.revision,
            updated_at: record.updated_at,
            updated_by: record.updated_by,
        }
    }
}

impl FindDetailsInput {
    /// Checks the five ids.
    pub(super) fn key(self) -> Result<RecordKey, Vec<CommandError>> {
        RecordKey::new(
            self.catalog_guid,
            self.integration_pack_instance_id,
            self.process_id,
            self.env_id,
            self.connection_id,
        )
    }
}
