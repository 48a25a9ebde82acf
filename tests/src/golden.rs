//! The golden messages of `proto/golden` (see proto/golden/README.md).

use std::fs;

use anyhow::Context as _;
use dev::paths;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

/// The folders whose messages are sent in sequence. Each message has its own answer.
pub const ANSWERED: [&str; 5] = ["valid", "invalid", "sequences", "events", "parked"];

/// A golden message by its path, such as `replies/packed`.
///
/// # Errors
/// There is none, or it is no JSON.
pub fn one(name: &str) -> anyhow::Result<Value> {
    let path = paths::repository()
        .join("proto/golden")
        .join(name)
        .with_extension("json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// All golden messages of a folder, with their names.
///
/// # Errors
/// One of them is no JSON.
pub fn folder(folder: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(paths::repository().join("proto/golden").join(folder))? {
        let path = entry?.path();
        let name = path.file_stem().context("no name")?.to_string_lossy();
        let name = format!("{folder}/{name}");
        messages.push((name.clone(), one(&name)?));
    }
    messages.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(messages)
}

/// The bytes of a golden body: a text stands for itself, anything else for its JSON.
#[must_use]
pub fn body(message: &Value) -> String {
    match &message["body"] {
        Value::String(raw) => raw.clone(),
        body => body.to_string(),
    }
}

/// The AMQP properties of a golden message.
///
/// # Errors
/// A property is unknown.
pub fn properties(message: &Value) -> anyhow::Result<BasicProperties> {
    let mut properties = BasicProperties::default();
    for (name, value) in message["properties"].as_object().into_iter().flatten() {
        let text = || value.as_str().unwrap_or_default().into();
        let number = || u8::try_from(value.as_u64().unwrap_or_default());
        properties = match name.as_str() {
            "type" => properties.with_type(text()),
            "content_type" => properties.with_content_type(text()),
            "content_encoding" => properties.with_content_encoding(text()),
            "message_id" => properties.with_message_id(text()),
            "correlation_id" => properties.with_correlation_id(text()),
            "app_id" => properties.with_app_id(text()),
            "priority" => properties.with_priority(number()?),
            "expiration" => properties.with_expiration(text()),
            "headers" => properties.with_headers(headers(value)),
            other => anyhow::bail!("a golden message has the property {other}"),
        };
    }
    Ok(properties)
}

fn headers(headers: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers.as_object().into_iter().flatten() {
        let value = match value {
            Value::Bool(flag) => AMQPValue::Boolean(*flag),
            text => AMQPValue::LongString(text.as_str().unwrap_or_default().into()),
        };
        table.insert(name.as_str().into(), value);
    }
    table
}

/// The AMQP properties of a message as golden messages write them. The broker's own headers and what
/// depends on the time or on the publisher's connection are left out.
#[must_use]
pub fn described(properties: &BasicProperties) -> Value {
    let mut described = serde_json::Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            described.insert(name.to_owned(), value);
        }
    };
    let text =
        |value: &Option<lapin::types::ShortString>| value.as_ref().map(|t| t.as_str().into());
    put("type", text(properties.kind()));
    put("content_type", text(properties.content_type()));
    put("content_encoding", text(properties.content_encoding()));
    put("message_id", text(properties.message_id()));
    put("app_id", text(properties.app_id()));
    put("expiration", text(properties.expiration()));
    put("reply_to", text(properties.reply_to()));
    put("priority", properties.priority().map(Value::from));
    put("delivery_mode", properties.delivery_mode().map(Value::from));
    let mut headers = serde_json::Map::new();
    let all = properties.headers().iter().flat_map(FieldTable::inner);
    for (name, value) in all.filter(|(name, _)| name.as_str() != "x-delivery-count") {
        let value = match value {
            AMQPValue::LongString(text) => text.to_string().into(),
            AMQPValue::Boolean(flag) => (*flag).into(),
            AMQPValue::LongLongInt(number) => (*number).into(),
            other => format!("{other:?}").into(),
        };
        headers.insert(name.to_string(), value);
    }
    if !headers.is_empty() {
        described.insert("headers".to_owned(), headers.into());
    }
    described.into()
}

/// Replaces generated values, such as ids and times, by those of the golden message, so that the
/// rest can be compared. Generated values that the golden message does not have are removed.
pub fn replace_generated(actual: &mut Value, golden: &Value) {
    match (actual, golden) {
        (Value::Object(actual), Value::Object(golden)) => {
            for name in ["id", "updatedAt", "deletedAt", "x-parked-at"] {
                match (actual.get_mut(name), golden.get(name)) {
                    (Some(value), Some(expected)) if same_form(value, expected) => {
                        *value = expected.clone();
                    }
                    (Some(value), None) if !value.is_null() => {
                        actual.remove(name);
                    }
                    _ => {}
                }
            }
            for (name, value) in actual {
                replace_generated(value, golden.get(name).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(actual), Value::Array(golden)) => {
            for (actual, golden) in actual.iter_mut().zip(golden) {
                replace_generated(actual, golden);
            }
        }
        _ => {}
    }
}

/// Whether two ids, times or numbers have the same form: the same type, and the same characters
/// between the digits.
fn same_form(actual: &Value, golden: &Value) -> bool {
    match (actual, golden) {
        (Value::String(actual), Value::String(golden)) => {
            let signs = |text: &str| {
                let signs = text.chars().filter(|c| !c.is_ascii_hexdigit());
                // A time has as many decimals as it needs, or none.
                signs.filter(|c| *c != '.').collect::<String>()
            };
            signs(actual) == signs(golden)
        }
        (actual, golden) => actual.is_number() && golden.is_number(),
    }
}
