//! Generates the contract as AsyncAPI and JSON Schema, from the types and constants that the services use.
//! `cargo dev contract` writes the files. A test fails if the files differ from the code.

mod channels;
mod messages;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{
    amqp::envelope,
    command::{
        Kind,
        raw::{RawDelete, RawSave},
    },
    event::{self, ConnectorDetailsDeleted, ConnectorDetailsSaved},
    reply::{self, BatchedReply, Reply},
};

const SAVE: &str = Kind::Save.as_str();
const DELETE: &str = Kind::Delete.as_str();

/// A file of the contract.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// The path below `proto/`.
    pub path: String,
    /// The content.
    pub text: String,
}

/// All files of the contract.
///
/// # Errors
/// Never for these types. The writers' signatures have an error.
pub fn files() -> Result<Vec<File>, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    // Commands are described as they are read, replies and events as they are written.
    let (read, written) = (
        SchemaSettings::draft07().for_deserialize(),
        SchemaSettings::draft07().for_serialize(),
    );
    for (name, schema) in [
        (SAVE, schema::<RawSave>(SAVE, &read)),
        (DELETE, schema::<RawDelete>(DELETE, &read)),
        (reply::TYPE, schema::<Reply>(reply::TYPE, &written)),
        (reply::DELETE_TYPE, delete_reply(&written)),
        (
            event::SAVED_TYPE,
            schema::<ConnectorDetailsSaved>(event::SAVED_TYPE, &written),
        ),
        (
            event::DELETED_TYPE,
            schema::<ConnectorDetailsDeleted>(event::DELETED_TYPE, &written),
        ),
        (
            reply::PACKED_TYPE,
            schema::<Vec<BatchedReply>>(reply::PACKED_TYPE, &written),
        ),
    ] {
        files.push(File {
            path: format!("schemas/{name}.json"),
            text: format!("{}\n", serde_json::to_string_pretty(&schema)?),
        });
    }
    files.push(File {
        path: "asyncapi.yaml".to_owned(),
        text: format!(
            "# Written by `cargo dev contract`, from proto/src/.\n{}",
            serde_saphyr::to_string(&document())?
        ),
    });
    Ok(files)
}

/// The schema of a type, in draft 7: AsyncAPI's own schemas are a superset of it.
fn schema<T: JsonSchema>(title: &str, settings: &SchemaSettings) -> Value {
    let generator = settings.clone().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<T>());
    schema["title"] = title.into();
    schema
}

/// The schema of a reply, without the outcome `saved`.
fn delete_reply(settings: &SchemaSettings) -> Value {
    let mut schema = schema::<Reply>(reply::DELETE_TYPE, settings);
    schema["description"] = "The body of a reply to a deletion.".into();
    if let Some(outcomes) = schema["oneOf"].as_array_mut() {
        outcomes.retain(|outcome| outcome["properties"]["outcome"]["const"] != "saved");
    }
    schema
}

fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Connector Details",
            "version": "1.0.0",
            "description": "Saves connector details through a queue and replies with the stored \
                            record. Client secrets are never stored. proto/README.md has all rules \
                            for publishers and describes how the contract changes.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": envelope::CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "pathname": "/{vhost}",
                "description": "RabbitMQ 3.10 to 4.x. Version 4 is used in deploy/ and \
                                docker-compose.yml.",
                "variables": {
                    "vhost": {
                        "default": "/",
                        "description": "The virtual host in the worker's AMQP URL, which has all \
                                        exchanges and queues. In a URL, write the default virtual \
                                        host as %2f.",
                    },
                },
            },
        },
        "channels": channels::all(),
        "operations": operations(),
        "components": { "messages": messages::all() },
    })
}

/// The operations of the worker.
fn operations() -> Value {
    let answered = |reply: &str| {
        json!({
            "channel": { "$ref": "#/channels/replies" },
            "messages": [
                { "$ref": format!("#/channels/replies/messages/{reply}") },
                { "$ref": "#/channels/replies/messages/packed" },
            ],
        })
    };
    json!({
        "save": {
            "action": "receive",
            "summary": "Validates, masks and stores each save once, in the order of the queue.",
            "channel": { "$ref": "#/channels/save" },
            "messages": [{ "$ref": "#/channels/save/messages/save" }],
            "reply": answered("reply"),
        },
        "delete": {
            "action": "receive",
            "summary": "Deletes a record. Its history is kept, and a later save creates a new \
                        record.",
            "channel": { "$ref": "#/channels/delete" },
            "messages": [{ "$ref": "#/channels/delete/messages/delete" }],
            "reply": answered("deleteReply"),
        },
        "announce": {
            "action": "send",
            "summary": "Publishes each change after its commit, at least once, and in order for \
                        each record. A repeated event has the same message_id.",
            "channel": { "$ref": "#/channels/events" },
            "messages": [
                { "$ref": "#/channels/events/messages/saved" },
                { "$ref": "#/channels/events/messages/deleted" },
            ],
        },
        "park": {
            "action": "send",
            "summary": "Keeps redacted commands that no worker can apply, until an operator \
                        decides.",
            "channel": { "$ref": "#/channels/parked" },
            "messages": [{ "$ref": "#/channels/parked/messages/parked" }],
        },
    })
}
