//! The body of a command before validation.
//!
//! An error in one field must not hide an error in another. So the fields may be missing or of another type
//! here, and these errors are reported together with those of the values.

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

/// A save whose fields may be missing or of any type. The schema shows the required types.
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

/// A deletion whose fields may be missing or of any type.
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

/// Reads a JSON object with the fields of `T`. `shape` is the error message for another form.
fn read<T: DeserializeOwned>(body: &[u8], shape: &str) -> Result<T, Vec<CommandError>> {
    if body.len() > MAX_BODY_BYTES {
        let message = "body must be at most 1048576 bytes; nothing was changed.";
        return Err(vec![CommandError::undecodable(Some("body"), message)]);
    }
    let malformed = |message: &str| vec![CommandError::undecodable(None, message)];
    let raw = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => malformed(shape),
        _ => malformed("The body must be valid JSON; nothing was changed."),
    })?;
    // serde would also accept a JSON array with the values of the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'{') {
        Ok(raw)
    } else {
        Err(malformed(shape))
    }
}

impl RawDelete {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        const SHAPE: &str = "The body must be a JSON object with the five ids of the record and, if \
                             wanted, expectedRevision, each once, and no other fields; nothing was \
                             deleted.";
        read(body, SHAPE)
    }

    /// The validated key and the expected revision. A field that is missing or of another type adds an
    /// error, and gets a placeholder as its value. [`all_errors`] removes the errors of placeholders.
    pub(crate) fn into_input(
        self,
        errors: &mut Vec<CommandError>,
    ) -> (Result<RecordKey, Vec<CommandError>>, Option<i64>) {
        let mut text = |field, value| string(field, value, errors).unwrap_or_default();
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
        (key, number(self.expected_revision.as_ref(), errors))
    }
}

impl RawSave {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Vec<CommandError>> {
        const SHAPE: &str = "The body must be a JSON object with the nine fields of the input and, \
                             if wanted, expectedRevision, each once, and no other fields; nothing \
                             was saved.";
        read(body, SHAPE)
    }

    /// The fields with the right types. A field that is missing or of another type adds an error, and gets a
    /// placeholder as its value. [`all_errors`] removes the errors of placeholders.
    pub(crate) fn into_input(self, errors: &mut Vec<CommandError>) -> SaveInput {
        let is_token_generated =
            boolean("isTokenGenerated", self.is_token_generated.as_ref(), errors);
        let expected_revision = number(self.expected_revision.as_ref(), errors);
        let mut text = |field, value| string(field, value, errors).unwrap_or_default();
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
    errors: &mut Vec<CommandError>,
) -> Option<String> {
    match value {
        Some(Value::String(text)) => return Some(text),
        Some(Value::Null) | None => errors.push(CommandError::value(field, "is required")),
        Some(_) => errors.push(CommandError::value(field, "must be a string")),
    }
    None
}

fn boolean(field: &'static str, value: Option<&Value>, errors: &mut Vec<CommandError>) -> bool {
    match value {
        Some(Value::Bool(flag)) => return *flag,
        Some(Value::Null) | None => errors.push(CommandError::value(field, "is required")),
        Some(_) => errors.push(CommandError::value(field, "must be true or false")),
    }
    false
}

/// The expected revision, which may be missing.
fn number(value: Option<&Value>, errors: &mut Vec<CommandError>) -> Option<i64> {
    let value = value.filter(|value| !value.is_null())?;
    if value.as_i64().is_none() {
        errors.push(CommandError::value(
            ExpectedRevision::FIELD,
            "must be a whole number",
        ));
    }
    value.as_i64()
}

/// The validated command, or all of its errors: `errors` about fields that are missing or of another type,
/// and the errors of `checked` about the values of the other fields.
pub(crate) fn all_errors<T>(
    mut errors: Vec<CommandError>,
    checked: Result<T, Vec<CommandError>>,
) -> Result<T, Vec<CommandError>> {
    if errors.is_empty() {
        return checked;
    }
    let mut values = checked.err().unwrap_or_default();
    // The value of a field in `errors` is a placeholder, so an error about the value means nothing.
    values.retain(|value| errors.iter().all(|error| error.field != value.field));
    errors.append(&mut values);
    Err(in_published_order(errors))
}

/// Sorts errors by the order of the fields in the contract.
pub(crate) fn in_published_order(mut errors: Vec<CommandError>) -> Vec<CommandError> {
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
    let position = |error: &CommandError| {
        ORDER
            .iter()
            .position(|field| error.field.as_deref() == Some(field))
    };
    errors.sort_by_key(position);
    errors
}
