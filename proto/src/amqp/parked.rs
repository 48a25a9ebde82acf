//! What a command looks like in `.parked`: enough for an operator to see whose it is and to send
//! it again once the reason is gone, and nothing that could be a secret.

use std::borrow::Cow;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value};

use super::envelope::{Envelope, since_epoch};
use crate::{
    command::{ExpectedRevision, raw::RawSave},
    details::OauthConnectorDetails,
    error::CommandError,
    fields::{CatalogGuid, ClientId, ConnectionId, EnvId, IntegrationPackInstanceId, ProcessId},
    masking,
    secret::{ClientSecret, MASK},
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

/// The body as it may be kept: the fields of the input that are well formed, secrets masked; of a
/// deletion the same, since its fields are among those of a save. Empty where the body can't be read
/// or has other fields, since what can't be read can't be searched for secrets.
///
/// Where `clientSecret` is not a valid secret (too long, a list, a number), the details are kept only
/// if nothing that it consists of stands anywhere in them.
#[must_use]
pub fn redacted(body: &[u8]) -> Vec<u8> {
    let Ok(wire) = RawSave::read(body) else {
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
    let client_id = text(wire.client_id.as_ref()).and_then(|id| ClientId::new(id).ok());
    let details = text(wire.oauth_connector_details.as_ref())
        .and_then(|text| details(text, wire.client_secret.as_ref(), client_id.as_ref()));
    keep(OauthConnectorDetails::FIELD, details);
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

/// The details without the secret; none where that can't be made sure of.
fn details(details: &str, secret: Option<&Value>, client_id: Option<&ClientId>) -> Option<String> {
    let valid = text(secret).and_then(|secret| ClientSecret::new(secret).ok());
    let known = valid.clone().unwrap_or_default();
    let masked = OauthConnectorDetails::new(details, &known, client_id).ok()?;
    let masked = masked.as_str();
    if valid.is_none() {
        let client_id = client_id.map_or("", ClientId::as_str);
        let pieces = secret.map_or(Some(Vec::new()), pieces)?;
        // A longer one can't stand in them, even with line ends of two bytes.
        let mut sought = pieces
            .iter()
            .filter(|piece| piece.len() <= 2 * masked.len())
            .filter_map(|piece| masking::Sought::any_length(piece, client_id));
        if sought.any(|piece| masking::holds(masked, &piece)) {
            return None;
        }
    }
    Some(masked.to_owned())
}

/// The most pieces of a secret that are looked for: each takes a search of the details.
const MOST_PIECES: usize = 8;

/// What a secret of whatever type consists of: its strings, keys and numbers. None where there are
/// too many, a number of which the text is not known any more, or one with a mask in it.
fn pieces(secret: &Value) -> Option<Vec<Cow<'_, str>>> {
    let mut pieces: Vec<Cow<'_, str>> = Vec::new();
    let mut left = vec![secret];
    while let Some(value) = left.pop() {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => pieces.push(text.trim().into()),
            Value::Number(number) if number.is_f64() => return None,
            Value::Number(number) => pieces.push(number.to_string().into()),
            Value::Array(items) => left.extend(items),
            Value::Object(members) => {
                pieces.extend(members.keys().map(Into::into));
                left.extend(members.values());
            }
        }
        if pieces.len() > MOST_PIECES {
            return None;
        }
    }
    let holds_a_mask = |piece: &Cow<'_, str>| piece.contains(MASK) && piece != MASK;
    (!pieces.iter().any(holds_a_mask)).then_some(pieces)
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// The properties of a parked message: the known ones of the original, the reason, and no header
/// that the original brought along.
#[must_use]
pub fn properties(envelope: &Envelope, fault: &CommandError, body_bytes: usize) -> BasicProperties {
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

#[cfg(test)]
mod tests;
