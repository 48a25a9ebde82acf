//! A command's body as it came, before any of its values was looked at.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    command::SaveInput,
    details::OauthConnectorDetails,
    error::Fault,
    fields::{CatalogGuid, ClientId, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId},
    secret::ClientSecret,
};

/// Each field present or not, of whatever type; what its schema says is what it has to be.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(
    rename = "SaveConnectorDetails.v1",
    title = "SaveConnectorDetails.v1",
    description = "The body of the command: the input of the mutation, all nine fields and no others."
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wire {
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
}

impl Wire {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Vec<Fault>> {
        const SHAPE: &str = "The body must be a JSON object with the nine fields of the input, each \
                             once and no others; nothing was saved.";
        let fault = |message| vec![Fault::undecodable(None, message)];
        let wire = serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => fault(SHAPE),
            _ => fault("The body must be valid JSON; nothing was saved."),
        })?;
        // A list of nine values would be read as the fields in their order.
        if body.trim_ascii_start().first() == Some(&b'{') {
            Ok(wire)
        } else {
            Err(fault(SHAPE))
        }
    }

    pub(crate) fn into_input(self) -> Result<SaveInput, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut text = |field, value| string(field, value, &mut faults).unwrap_or_default();
        let input = SaveInput {
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
            is_token_generated: boolean(
                "isTokenGenerated",
                self.is_token_generated.as_ref(),
                &mut faults,
            ),
        };
        if faults.is_empty() {
            Ok(input)
        } else {
            Err(in_published_order(faults))
        }
    }
}

fn string(field: &'static str, value: Option<Value>, faults: &mut Vec<Fault>) -> Option<String> {
    match value {
        Some(Value::String(text)) => return Some(text),
        Some(Value::Null) | None => faults.push(Fault::value(field, "is required")),
        Some(_) => faults.push(Fault::value(field, "must be a string")),
    }
    None
}

fn boolean(field: &'static str, value: Option<&Value>, faults: &mut Vec<Fault>) -> bool {
    match value {
        Some(Value::Bool(flag)) => return *flag,
        Some(Value::Null) | None => faults.push(Fault::value(field, "is required")),
        Some(_) => faults.push(Fault::value(field, "must be true or false")),
    }
    false
}

/// The order in which the fields are published, and faults are told.
pub(crate) fn in_published_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    const ORDER: [&str; 9] = [
        IntegrationPackInstanceId::FIELD,
        "isTokenGenerated",
        OauthConnectorDetails::FIELD,
        ProcessId::FIELD,
        EnvId::FIELD,
        ConnectionId::FIELD,
        CatalogGuid::FIELD,
        ClientId::FIELD,
        ClientSecret::FIELD,
    ];
    let place = |fault: &Fault| {
        ORDER
            .iter()
            .position(|field| fault.field.as_deref() == Some(field))
    };
    faults.sort_by_key(place);
    faults
}
