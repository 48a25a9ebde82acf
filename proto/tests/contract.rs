//! The published files say what the code does.

use std::{fs, path::Path};

use anyhow::Context as _;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proto::{Command, Envelope, contract};
use serde_json::{Value, json};

fn proto() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_published_contract_is_the_codes() -> anyhow::Result<()> {
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
    assert_eq!(schemas, files.len() - 1, "a schema that nothing writes");
    Ok(())
}

/// What the code makes of a message, as far as nothing is stored: a refusal, or the masked fields.
fn decided(golden: &Value) -> Value {
    let properties = &golden["properties"];
    let text = |name: &str| properties[name].as_str().map(Into::into);
    let mut message = BasicProperties::default();
    for (set, value) in [
        (
            BasicProperties::with_type as fn(BasicProperties, _) -> _,
            text("type"),
        ),
        (BasicProperties::with_content_type, text("content_type")),
        (BasicProperties::with_message_id, text("message_id")),
    ] {
        if let Some(value) = value {
            message = set(message, value);
        }
    }
    let mut headers = FieldTable::default();
    for (name, value) in properties["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        headers.insert(name.as_str().into(), AMQPValue::LongString(value.into()));
    }
    let envelope = Envelope::read(&message.with_headers(headers));
    let body = match &golden["body"] {
        Value::String(raw) => raw.clone(),
        body => body.to_string(),
    };
    let command = envelope
        .check()
        .map_err(|fault| vec![fault])
        .and_then(|(kind, _)| Command::decode(kind, body.as_bytes()));
    match command {
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
        Err(faults) => {
            json!({ "commandId": envelope.command_id, "outcome": "refused", "errors": faults })
        }
    }
}

#[test]
fn golden_messages_get_the_answers_that_stand_beside_them() -> anyhow::Result<()> {
    for (folder, refused) in [("valid", false), ("invalid", true)] {
        let mut count = 0;
        for entry in fs::read_dir(proto().join("golden").join(folder))? {
            let path = entry?.path();
            let golden: Value = serde_json::from_str(&fs::read_to_string(&path)?)
                .with_context(|| path.display().to_string())?;
            assert_eq!(
                golden["answer"]["outcome"] == "refused",
                refused,
                "{path:?}"
            );
            assert_eq!(decided(&golden), golden["answer"], "{path:?}");
            count += 1;
        }
        assert!(count > 5, "{folder}");
    }
    Ok(())
}
