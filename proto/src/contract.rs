//! The contract, published: AsyncAPI and JSON Schema, made from the types and constants that the
//! services themselves use. `cargo dev contract` writes the files; a test fails where they differ.

mod messages;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::{
    amqp::{
        envelope,
        topology::{self, COMMANDS, QUEUE},
    },
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
    /// Where it is, below `proto/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// All files.
///
/// # Errors
/// None that the types allow; the signature is the writers'.
pub fn files() -> Result<Vec<File>, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    // What is read of a command, and what is written of a reply.
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

/// Draft 7, which AsyncAPI's own schemas are a superset of.
fn schema<T: JsonSchema>(title: &str, settings: &SchemaSettings) -> Value {
    let generator = settings.clone().into_generator();
    let mut schema = Value::from(generator.into_root_schema_for::<T>());
    schema["title"] = title.into();
    schema
}

/// A reply to a deletion is a reply that never says that something was saved.
fn delete_reply(settings: &SchemaSettings) -> Value {
    let mut schema = schema::<Reply>(reply::DELETE_TYPE, settings);
    schema["description"] = "The body of a reply to a deletion.".into();
    if let Some(outcomes) = schema["oneOf"].as_array_mut() {
        outcomes.retain(|outcome| outcome["properties"]["outcome"]["const"] != "saved");
    }
    schema
}

fn document() -> Value {
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
        "asyncapi": "3.0.0",
        "info": {
            "title": "Connector Details",
            "version": "1.0.0",
            "description": "Saves connector details through a queue, and answers with the stored \
                            record. The secret is never kept. proto/README.md has all rules for \
                            publishers in one place, and how the contract changes.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": envelope::CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "localhost:5672",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "pathname": "/{vhost}",
                "description": "RabbitMQ, 3.10 or later; tested on 3.10 and 4.0.",
                "variables": {
                    "vhost": {
                        "default": "/",
                        "description": "The virtual host. Any will do: all exchanges and queues are \
                                        in the one that the worker's AMQP URL names. In a URL the \
                                        default one is written %2f.",
                    },
                },
            },
        },
        "channels": channels(),
        "operations": {
            "save": {
                "action": "receive",
                "summary": "Checks, masks and stores what is published, each command once, in the \
                            broker's order.",
                "channel": { "$ref": "#/channels/save" },
                "messages": [{ "$ref": "#/channels/save/messages/save" }],
                "reply": answered("reply"),
            },
            "delete": {
                "action": "receive",
                "summary": "Ends a record. Its history stays, and saving again begins another.",
                "channel": { "$ref": "#/channels/delete" },
                "messages": [{ "$ref": "#/channels/delete/messages/delete" }],
                "reply": answered("deleteReply"),
            },
            "announce": {
                "action": "send",
                "summary": "Tells of each change after its commit: at least once, and in order for each \
                            record. A repeat has the same message_id.",
                "channel": { "$ref": "#/channels/events" },
                "messages": [
                    { "$ref": "#/channels/events/messages/saved" },
                    { "$ref": "#/channels/events/messages/deleted" },
                ],
            },
            "park": {
                "action": "send",
                "summary": "Keeps what nobody can apply, redacted, until an operator decides.",
                "channel": { "$ref": "#/channels/parked" },
                "messages": [{ "$ref": "#/channels/parked/messages/parked" }],
            },
        },
        "components": { "messages": messages::all() },
    })
}

/// What a kind of command is published to.
fn commands(kind: Kind, name: &str, message: &str) -> Value {
    json!({
        "address": kind.routing_key(),
        "title": kind.as_str(),
        "description": format!(
            "The routing key at the exchange {COMMANDS}, which leads to the queue {QUEUE}: a quorum \
             queue with one active consumer, and one order for all commands. The key only leads there; \
             the type property says what a message is. Publish persistent and mandatory, and wait for \
             the confirm: what was confirmed is decided, whatever dies. A full queue (1,000,000 commands \
             or 1 GiB) refuses with a nack.",
        ),
        "messages": { name: { "$ref": format!("#/components/messages/{message}") } },
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": COMMANDS, "type": "direct", "durable": true, "autoDelete": false,
                },
                "bindingVersion": "0.3.0",
            },
        },
    })
}

fn channels() -> Value {
    let queue = |name: String, exclusive: bool| {
        json!({
            "is": "queue",
            "queue": { "name": name, "durable": !exclusive, "exclusive": exclusive, "autoDelete": exclusive },
            "bindingVersion": "0.3.0",
        })
    };
    json!({
        "save": commands(Kind::Save, "save", "SaveConnectorDetails"),
        "delete": commands(Kind::Delete, "delete", "DeleteConnectorDetails"),
        "replies": {
            "address": null,
            "title": "Replies",
            "description": format!(
                "The queue that reply_to names: amq.rabbitmq.reply-to, or one whose name begins with \
                 `{}`. Another is not answered. A reply is a courtesy: it can be lost with the queue or \
                 the worker, and a repeat under the same message_id gets it again.",
                envelope::REPLY_QUEUES,
            ),
            "messages": {
                "reply": { "$ref": "#/components/messages/SaveConnectorDetailsReply" },
                "deleteReply": { "$ref": "#/components/messages/DeleteConnectorDetailsReply" },
                "packed": { "$ref": "#/components/messages/SaveConnectorDetailsReplies" },
            },
            "bindings": { "amqp": queue(format!("{}*", envelope::REPLY_QUEUES), true) },
        },
        "events": {
            "address": "connector-details.{happened}.v1",
            "title": "Events",
            "description": format!(
                "The routing key at the topic exchange {}. Bind a queue of your own: what happens while \
                 it is bound comes to it.",
                topology::EVENTS,
            ),
            "parameters": {
                "happened": { "enum": ["saved", "deleted"], "description": "What happened." },
            },
            "messages": {
                "saved": { "$ref": "#/components/messages/ConnectorDetailsSaved" },
                "deleted": { "$ref": "#/components/messages/ConnectorDetailsDeleted" },
            },
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {
                        "name": topology::EVENTS, "type": "topic", "durable": true,
                        "autoDelete": false,
                    },
                    "bindingVersion": "0.3.0",
                },
            },
        },
        "parked": {
            "address": topology::PARKED,
            "title": "Parked commands",
            "description": "What nobody can apply, without its secrets; a body that can't be read \
                            is not kept.",
            "messages": { "parked": { "$ref": "#/components/messages/Parked" } },
            "bindings": { "amqp": queue(topology::PARKED.to_owned(), false) },
        },
    })
}
