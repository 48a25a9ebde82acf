//! The published files agree with the code.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proto::{Command, Envelope, amqp::parked, contract};
use serde_json::{Value, json};

fn proto() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_published_contract_equals_the_generated_one() -> anyhow::Result<()> {
    let files = contract::files().map_err(|error| anyhow::anyhow!("{error}"))?;
    for file in &files {
        let published = fs::read_to_string(proto().join(&file.path))?;
        assert!(
            published == file.text,
            "proto/{} is not what cargo dev contract writes",
            file.path
        );
    }
    let schemas = fs::read_dir(proto().join("schemas"))?.count();
    assert_eq!(
        schemas,
        files.len() - 1,
        "a schema file that is not generated"
    );
    Ok(())
}

/// The properties of a golden message that affect validation.
fn properties(golden: &Value) -> BasicProperties {
    let mut message = BasicProperties::default();
    for (name, value) in golden["properties"].as_object().into_iter().flatten() {
        let text = || value.as_str().unwrap_or_default().into();
        message = match name.as_str() {
            "type" => message.with_type(text()),
            "content_type" => message.with_content_type(text()),
            "content_encoding" => message.with_content_encoding(text()),
            "message_id" => message.with_message_id(text()),
            "app_id" => message.with_app_id(text()),
            "priority" => message.with_priority(
                value
                    .as_u64()
                    .and_then(|it| it.try_into().ok())
                    .unwrap_or_default(),
            ),
            _ => message,
        };
    }
    let mut headers = FieldTable::default();
    for (name, value) in golden["properties"]["headers"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let value = value.as_str().unwrap_or_default();
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.into()));
    }
    message.with_headers(headers)
}

fn body(golden: &Value) -> String {
    match &golden["body"] {
        Value::String(raw) => raw.clone(),
        body => body.to_string(),
    }
}

/// The answer of the code, without the values that only the database knows: a refusal, or the masked fields.
fn answer(golden: &Value) -> Value {
    let envelope = Envelope::read(&properties(golden));
    let body = body(golden);
    match Command::read(&envelope, body.as_bytes()).map(|(_, command)| command) {
        Ok(Command::Delete(_)) => {
            json!({ "commandId": envelope.command_id, "outcome": "deleted", "record": null })
        }
        Ok(Command::Save(command)) => {
            let mut fields = json!(command);
            if let Some(fields) = fields.as_object_mut() {
                fields.remove("clientSecret");
                fields.remove("expectedRevision");
                fields.insert("revision".to_owned(), 1.into());
                fields.insert("updatedBy".to_owned(), envelope.updated_by().into());
            }
            json!({ "commandId": envelope.command_id, "outcome": "saved", "record": fields })
        }
        Err(errors) => {
            json!({ "commandId": envelope.command_id, "outcome": "refused", "errors": errors })
        }
    }
}

fn golden(folder: &str) -> anyhow::Result<Vec<(PathBuf, Value)>> {
    let mut messages = Vec::new();
    for entry in fs::read_dir(proto().join("golden").join(folder))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let golden = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        messages.push((path, golden));
    }
    Ok(messages)
}

#[test]
fn golden_messages_get_their_published_answers() -> anyhow::Result<()> {
    for (folder, refused) in [("valid", false), ("invalid", true)] {
        let messages = golden(folder)?;
        for (path, golden) in &messages {
            let is_refused = golden["answer"]["outcome"] == "refused";
            assert_eq!(is_refused, refused, "{path:?}");
            assert_eq!(answer(golden), golden["answer"], "{path:?}");
        }
        assert!(messages.len() > 5, "{folder}");
    }
    Ok(())
}

#[test]
fn parked_golden_messages_have_their_published_copies() -> anyhow::Result<()> {
    for (path, golden) in golden("parked")? {
        // The broker decides that a command expired. Validation accepts it.
        if golden["properties"]["expiration"].is_string() {
            continue;
        }
        assert_eq!(answer(&golden), golden["answer"], "{path:?}");
        let kept = parked::redacted(body(&golden).as_bytes());
        let kept: Value = serde_json::from_slice(&kept).unwrap_or("".into());
        assert_eq!(kept, golden["parked"]["body"], "{path:?}");
    }
    Ok(())
}
