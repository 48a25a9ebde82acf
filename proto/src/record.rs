//! A stored record, and its key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    error::CommandError,
    fields::{CatalogGuid, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId},
};

/// The five ids that together identify a record. A second save with the same ids updates the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The Space.
    pub catalog_guid: CatalogGuid,
    /// The Integration Pack instance.
    pub integration_pack_instance_id: IntegrationPackInstanceId,
    /// The process in the Integration Pack.
    pub process_id: ProcessId,
    /// The environment of the configuration.
    pub env_id: EnvId,
    /// The connection in the process.
    pub connection_id: ConnectionId,
}

impl RecordKey {
    /// Validates the five ids.
    ///
    /// # Errors
    /// One error for each id that breaks a rule.
    pub fn new(
        catalog_guid: String,
        integration_pack_instance_id: String,
        process_id: String,
        env_id: String,
        connection_id: String,
    ) -> Result<Self, Vec<CommandError>> {
        let mut errors = Vec::new();
        let integration_pack_instance_id = ok(
            IntegrationPackInstanceId::new(integration_pack_instance_id),
            &mut errors,
        );
        let process_id = ok(ProcessId::new(process_id), &mut errors);
        let env_id = ok(EnvId::new(env_id), &mut errors);
        let connection_id = ok(ConnectionId::new(connection_id), &mut errors);
        let catalog_guid = ok(CatalogGuid::new(catalog_guid), &mut errors);
        match (
            catalog_guid,
            integration_pack_instance_id,
            process_id,
            env_id,
            connection_id,
        ) {
            (
                Some(catalog_guid),
                Some(integration_pack_instance_id),
                Some(process_id),
                Some(env_id),
                Some(connection_id),
            ) => Ok(Self {
                catalog_guid,
                integration_pack_instance_id,
                process_id,
                env_id,
                connection_id,
            }),
            _ => Err(errors),
        }
    }
}

/// The value of a valid field. If the field is not valid, its error is added to `errors`.
pub(crate) fn ok<T>(checked: Result<T, CommandError>, errors: &mut Vec<CommandError>) -> Option<T> {
    checked.map_err(|error| errors.push(error)).ok()
}

/// A record as one save left it: the published fields and those that stand beside them. The
/// secret has no place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// A UUID that the first save gave the record; it never changes.
    pub id: String,
    /// The Integration Pack instance.
    pub integration_pack_instance_id: String,
    /// Whether the access token has been generated.
    pub is_token_generated: bool,
    /// The details' JSON text, its secrets masked and otherwise byte for byte as submitted.
    pub oauth_connector_details: String,
    /// The process in the Integration Pack.
    pub process_id: String,
    /// The environment of the configuration.
    pub env_id: String,
    /// The connection in the process.
    pub connection_id: String,
    /// The Space that owns the record.
    pub catalog_guid: String,
    /// The key from the identity provider.
    pub client_id: String,
    /// 1 at the first save and one more with each that took effect.
    #[schemars(range(min = 1))]
    pub revision: i64,
    /// When that save took effect.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub updated_at: OffsetDateTime,
    /// Who made it: the token's subject, else the publisher's broker user, else its `app_id`.
    pub updated_by: Option<String>,
}
