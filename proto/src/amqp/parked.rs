//! The copy of a command in `.parked`. An operator can see who published the command and can send it
//! again, and the copy holds no secret.

mod pieces;

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
/// The field or property that is wrong, if the error names one.
pub const FIELD: &str = "x-field";
/// When it was parked, in milliseconds since 1970 UTC.
pub const PARKED_AT: &str = "x-parked-at";
/// The length of the body that was dropped or redacted, in bytes.
pub const BODY_BYTES: &str = "x-body-bytes";
/// The broker user of the original publisher. The property `user_id` can't be used: it must name the
/// user of the worker, which publishes the copy.
pub const USER_ID: &str = "x-user-id";

/// The part of a body that is kept: the valid fields, with secrets masked. Every field of a deletion is
/// also a field of a save, so one function does both. The result is empty if the body can't be read or has
/// other fields, because such a body can't be searched for secrets.
///
/// If `clientSecret` is not valid (too long, a list, a number), the details are kept only if no piece of
/// it occurs in them.
#[must_use]
pub fn redacted(body: &[u8]) -> Vec<u8> {
    let Ok(raw) = RawSave::read(body) else {
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
        IntegrationPackInstanceId = raw.integration_pack_instance_id.as_ref(),
        ProcessId = raw.process_id.as_ref(),
        EnvId = raw.env_id.as_ref(),
        ConnectionId = raw.connection_id.as_ref(),
        CatalogGuid = raw.catalog_guid.as_ref(),
        ClientId = raw.client_id.as_ref(),
    );
    let client_id = text(raw.client_id.as_ref()).and_then(|id| ClientId::new(id).ok());
    let details = text(raw.oauth_connector_details.as_ref())
        .and_then(|text| details(text, raw.client_secret.as_ref(), client_id.as_ref()));
    keep(OauthConnectorDetails::FIELD, details);
    keep(
        ClientSecret::FIELD,
        raw.client_secret.as_ref().map(|_| MASK.to_owned()),
    );
    if let Some(flag @ Value::Bool(_)) = raw.is_token_generated {
        kept.insert("isTokenGenerated".to_owned(), flag);
    }
    if let Some(revision @ Value::Number(_)) = raw.expected_revision {
        kept.insert(ExpectedRevision::FIELD.to_owned(), revision);
    }
    serde_json::to_vec(&kept).unwrap_or_default()
}

/// The masked details. `None` if they are not valid, or may still hold a secret.
fn details(details: &str, secret: Option<&Value>, client_id: Option<&ClientId>) -> Option<String> {
    let valid = text(secret).and_then(|secret| ClientSecret::new(secret).ok());
    let known = valid.clone().unwrap_or_default();
    let masked = OauthConnectorDetails::new(details, &known, client_id).ok()?;
    let masked = masked.as_str();
    if valid.is_none() {
        let client_id = client_id.map_or("", ClientId::as_str);
        let pieces = secret.map_or(Some(Vec::new()), pieces::of)?;
        // A piece of more than twice the length of the details can't occur in them, even if each of its line
        // breaks has two bytes.
        let mut terms = pieces
            .iter()
            .filter(|piece| piece.len() <= 2 * masked.len())
            .filter_map(|piece| masking::SearchTerms::any_length(piece, client_id));
        if terms.any(|piece| masking::contains(masked, &piece)) {
            return None;
        }
    }
    Some(masked.to_owned())
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// The properties of the copy: those of the contract, and the reason. Other headers of the original are
/// not kept.
#[must_use]
pub fn properties(envelope: &Envelope, error: &CommandError, body_bytes: usize) -> BasicProperties {
    let mut envelope = envelope.clone();
    envelope.reply_to = None;
    let user_id = envelope.user_id.take();
    let properties = envelope.properties();
    let mut headers = properties.headers().clone().unwrap_or_default();
    set(&mut headers, REASON, Some(error.code.as_str()));
    set(&mut headers, FIELD, error.field.as_deref());
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
