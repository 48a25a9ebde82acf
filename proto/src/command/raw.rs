//! A command's body as it came, before any of its values was looked at.
//!
//! A fault of one field hides no fault of another: what is missing or of another type is reported
//! beside the values that break their rules.

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ExpectedRevision, MAX_BODY_BYTES, SaveInput, exact_number};
use crate::{
    details::OauthConnectorDetails,
    error::CommandError,
    fields::{CatalogGuid, ClientId, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId},
    record::RecordKey,
    secret::ClientSecret,
};

/// Each field present or not, of whatever type; what its schema says is what it has to be.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(
    rename = "SaveConnectorDetails.v1",
    title = "SaveConnectorDetails.v1",
    description = "The body of the command: the input of the mutation, all nine fields, and the revision that the record must have, where that matters."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawSave {
    #[schemars(with = "IntegrationPackInstanceId")]
    pub(crate) integration_pack_instance_id: Option<Value>,
    #[schemars(
        with = "bool",
        description = "Whether the access token has been generated."
    )]
    pub(crate) is_token_generated: Option<Value>,
    #[schemars(with = "OauthConnectorDetails")]
    pub(crate) oauth_connector_details: Option<Value>,
    #[schemars(with = "ProcessId")]
    pub(crate) process_id: Option<Value>,
    #[schemars(with = "EnvId")]
    pub(crate) env_id: Option<Value>,
    #[schemars(with = "ConnectionId")]
    pub(crate) connection_id: Option<Value>,
    #[schemars(with = "CatalogGuid")]
    pub(crate) catalog_guid: Option<Value>,
    #[schemars(with = "ClientId")]
    pub(crate) client_id: Option<Value>,
    #[schemars(with = "ClientSecret")]
    pub(crate) client_secret: Option<Value>,
    #[serde(default, deserialize_with = "exact_number")]
    #[schemars(with = "Option<ExpectedRevision>", !default)]
    pub(crate) expected_revision: Option<Value>,
}

/// The same of a deletion.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(
    description = "The body of the command: the five ids of the record and, where that matters, the revision that the record must have. No other fields."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawDelete {
    #[schemars(with = "IntegrationPackInstanceId")]
    integration_pack_instance_id: Option<Value>,
    #[schemars(with = "ProcessId")]
    process_id: Option<Value>,
    #[schemars(with = "EnvId")]
    env_id: Option<Value>,
    #[schemars(with = "ConnectionId")]
    connection_id: Option<Value>,
    #[schemars(with = "CatalogGuid")]
    catalog_guid: Option<Value>,
    #[serde(default, deserialize_with = "exact_number")]
    #[schemars(with = "Option<ExpectedRevision>", !default)]
    expected_revision: Option<Value>,
}

/// Reads an object with the fields of `T`.
fn read<T: DeserializeOwned>(body: &[u8], shape: &str) -> Result<T, Vec<CommandError>> {
    if body.len() > MAX_BODY_BYTES {
        let message = "body must be at most 1048576 bytes; nothing was changed.";
        return Err(vec![CommandError::undecodable(Some("body"), message)]);
    }
    let fault = |message: &str| vec![CommandError::undecodable(None, message)];
    let wire = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => fault(shape),
        _ => fault("The body must be valid JSON; nothing was changed."),
    })?;
    // A list of the values would be read as the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'{') {
        Ok(wire)
    } else {
        Err(fault(shape))
    }
}

impl RawDelete {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        const SHAPE: &str = "The body must be a JSON object with the five ids of the record and, if \
                             wanted, expectedRevision, each once, and no other fields; nothing was \
                             deleted.";
        read(body, SHAPE)
    }

    /// The key as far as it keeps its rules, and the expected revision. Fields that are missing or
    /// of another type are added to the faults, and something else stands in for them.
    pub(crate) fn into_input(
        self,
        faults: &mut Vec<CommandError>,
    ) -> (Result<RecordKey, Vec<CommandError>>, Option<i64>) {
        let mut text = |field, value| string(field, value, faults).unwrap_or_default();
        let key = RecordKey::new(
            text(CatalogGuid::FIELD, self.catalog_guid),
            text(
                IntegrationPackInstanceId::FIELD,
                self.integration_pack_instance_id,
            ),
            text(ProcessId::FIELD, self.process_id),
            text(EnvId::FIELD, self.env_id),
            text(ConnectionId::FIELD, self.connection_id),
        );
        (key, number(self.expected_revision.as_ref(), faults))
    }
}

impl RawSave {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        const SHAPE: &str = "The body must be a JSON object with the nine fields of the input and, \
                             if wanted, expectedRevision, each once, and no other fields; nothing \
                             was saved.";
        read(body, SHAPE)
    }

    /// The fields as far as they are there and of their type. The others are added to the faults,
    /// and something else stands in for them.
    pub(crate) fn into_input(self, faults: &mut Vec<CommandError>) -> SaveInput {
        let is_token_generated =
            boolean("isTokenGenerated", self.is_token_generated.as_ref(), faults);
        let expected_revision = number(self.expected_revision.as_ref(), faults);
        let mut text = |field, value| string(field, value, faults).unwrap_or_default();
        SaveInput {
            integration_pack_instance_id: text(
                IntegrationPackInstanceId::FIELD,
                self.integration_pack_instance_id,
            ),
            oauth_connector_details: text(
                OauthConnectorDetails::FIELD,
                self.oauth_connector_details,
            ),
            process_id: text(ProcessId::FIELD, self.process_id),
            env_id: text(EnvId::FIELD, self.env_id),
            connection_id: text(ConnectionId::FIELD, self.connection_id),
            catalog_guid: text(CatalogGuid::FIELD, self.catalog_guid),
            client_id: text(ClientId::FIELD, self.client_id),
            client_secret: text(ClientSecret::FIELD, self.client_secret).into(),
            is_token_generated,
            expected_revision,
        }
    }
}

fn string(
    field: &'static str,
    value: Option<Value>,
    faults: &mut Vec<CommandError>,
) -> Option<String> {
    match value {
        Some(Value::String(text)) => return Some(text),
        Some(Value::Null) | None => faults.push(CommandError::value(field, "is required")),
        Some(_) => faults.push(CommandError::value(field, "must be a string")),
    }
    None
}

fn boolean(field: &'static str, value: Option<&Value>, faults: &mut Vec<CommandError>) -> bool {
    match value {
        Some(Value::Bool(flag)) => return *flag,
        Some(Value::Null) | None => faults.push(CommandError::value(field, "is required")),
        Some(_) => faults.push(CommandError::value(field, "must be true or false")),
    }
    false
}

/// A whole number that may be missing.
fn number(value: Option<&Value>, faults: &mut Vec<CommandError>) -> Option<i64> {
    let value = value.filter(|value| !value.is_null())?;
    if value.as_i64().is_none() {
        faults.push(CommandError::value(
            ExpectedRevision::FIELD,
            "must be a whole number",
        ));
    }
    value.as_i64()
}

/// A command whose fields are all right, or everything that is wrong: `faults`, the fields that are
/// missing or of another type, and the values of the other fields that break their rules.
pub(crate) fn all_faults<T>(
    mut faults: Vec<CommandError>,
    checked: Result<T, Vec<CommandError>>,
) -> Result<T, Vec<CommandError>> {
    if faults.is_empty() {
        return checked;
    }
    let mut values = checked.err().unwrap_or_default();
    // Of these only a stand-in was checked.
    values.retain(|value| faults.iter().all(|fault| fault.field != value.field));
    faults.append(&mut values);
    Err(in_published_order(faults))
}

/// The order in which the fields are published, and faults are told.
pub(crate) fn in_published_order(mut faults: Vec<CommandError>) -> Vec<CommandError> {
    const ORDER: [&str; 10] = [
        IntegrationPackInstanceId::FIELD,
        "isTokenGenerated",
        OauthConnectorDetails::FIELD,
        ProcessId::FIELD,
        EnvId::FIELD,
        ConnectionId::FIELD,
        CatalogGuid::FIELD,
        ClientId::FIELD,
        ClientSecret::FIELD,
        ExpectedRevision::FIELD,
    ];
    let place = |fault: &CommandError| {
        ORDER
            .iter()
            .position(|field| fault.field.as_deref() == Some(field))
    };
    faults.sort_by_key(place);
    faults
}
