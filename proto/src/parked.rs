//! What a command looks like in `.parked`: enough for an operator to see whose it is and to send
//! it again once the reason is gone, and nothing that could be a secret.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};

use crate::{
    command::ExpectedRevision,
    details::OauthConnectorDetails,
    envelope::{Envelope, since_epoch},
    error::Fault,
    fields::{CatalogGuid, ClientId, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId},
    secret::{ClientSecret, MASK},
    wire::Wire,
};

/// The error code of the refusal.
pub const REASON: &str = "x-reason";
/// The field at fault, where there is one.
pub const FIELD: &str = "x-field";
/// When it was parked, in milliseconds since 1970 UTC.
pub const PARKED_AT: &str = "x-parked-at";
/// The length of the body that was dropped or redacted, in bytes.
pub const BODY_BYTES: &str = "x-body-bytes";
/// The broker user of the original publisher: the property itself may only name the worker's.
pub const USER_ID: &str = "x-user-id";

/// The body as it may be kept: the fields of the input that are well formed, secrets masked. Empty
/// where the body can't be read, since what can't be read can't be searched for secrets.
#[must_use]
pub fn redacted(body: &[u8]) -> Vec<u8> {
    let Ok(wire) = Wire::read(body) else {
        return Vec::new();
    };
    let mut kept = Map::new();
    let mut keep = |field: &str, value: Option<String>| {
        if let Some(value) = value {
            kept.insert(field.to_owned(), Value::String(value));
        }
    };
    macro_rules! keep_valid {
        ($($type:ident = $value:expr),* $(,)?) => {
            $(keep($type::FIELD, text($value).and_then(|text| $type::new(text).ok()).map(String::from));)*
        };
    }
    keep_valid!(
        IntegrationPackInstanceId = wire.integration_pack_instance_id.as_ref(),
        ProcessId = wire.process_id.as_ref(),
        EnvId = wire.env_id.as_ref(),
        ConnectionId = wire.connection_id.as_ref(),
        CatalogGuid = wire.catalog_guid.as_ref(),
        ClientId = wire.client_id.as_ref(),
    );
    let secret =
        text(wire.client_secret.as_ref()).and_then(|secret| ClientSecret::new(secret).ok());
    let client_id = text(wire.client_id.as_ref()).and_then(|id| ClientId::new(id).ok());
    let details = text(wire.oauth_connector_details.as_ref()).and_then(|text| {
        OauthConnectorDetails::new(
            text,
            secret.as_ref().unwrap_or(&ClientSecret::default()),
            client_id.as_ref(),
        )
        .ok()
    });
    keep(
        OauthConnectorDetails::FIELD,
        details.map(|details| details.as_str().to_owned()),
    );
    keep(
        ClientSecret::FIELD,
        wire.client_secret.as_ref().map(|_| MASK.to_owned()),
    );
    if let Some(flag @ Value::Bool(_)) = wire.is_token_generated {
        kept.insert("isTokenGenerated".to_owned(), flag);
    }
    if let Some(revision @ Value::Number(_)) = wire.expected_revision {
        kept.insert(ExpectedRevision::FIELD.to_owned(), revision);
    }
    serde_json::to_vec(&kept).unwrap_or_default()
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// The properties of a parked message: the known ones of the original, the reason, and no header
/// that the original brought along.
#[must_use]
pub fn properties(envelope: &Envelope, fault: &Fault, body_bytes: usize) -> BasicProperties {
    let mut envelope = envelope.clone();
    envelope.reply_to = None;
    let user_id = envelope.user_id.take();
    let properties = envelope.properties();
    let mut headers = properties.headers().clone().unwrap_or_default();
    set(&mut headers, REASON, Some(fault.code.as_str()));
    set(&mut headers, FIELD, fault.field.as_deref());
    set(&mut headers, USER_ID, user_id.as_deref());
    let now_ms = i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX);
    headers.insert(PARKED_AT.into(), AMQPValue::LongLongInt(now_ms));
    headers.insert(
        BODY_BYTES.into(),
        AMQPValue::LongLongInt(i64::try_from(body_bytes).unwrap_or(i64::MAX)),
    );
    properties.with_headers(headers)
}

fn set(headers: &mut FieldTable, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
}
