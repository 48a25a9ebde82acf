//! The channels of the AsyncAPI document: exchanges, queues and routing keys.

use serde_json::{Value, json};

use crate::{
    amqp::{
        envelope,
        topology::{self, COMMANDS, QUEUE},
    },
    command::Kind,
};

/// The channel of a kind of command.
fn commands(kind: Kind, name: &str, message: &str) -> Value {
    json!({
        "address": kind.routing_key(),
        "title": kind.as_str(),
        "description": format!(
            "The routing key at the exchange {COMMANDS}. It leads to the queue {QUEUE}, a quorum \
             queue with a single active consumer and one order for all commands. The routing key \
             does not say which command a message is; the type property does. Publish persistent \
             and mandatory messages and wait for the confirm. A confirmed command gets an outcome \
             even if the broker or a worker restarts. A full queue (1,000,000 commands or 1 GiB) \
             sends a nack.",
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

/// All channels, by name.
pub(super) fn all() -> Value {
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
                "The queue in reply_to, which is amq.rabbitmq.reply-to or has a name that starts \
                 with `{}`. With another name, no reply is sent. A reply can be lost with its \
                 queue or the worker. Send the command again with the same message_id to get the \
                 same reply again.",
                envelope::REPLY_QUEUES,
            ),
            "messages": {
                "reply": { "$ref": "#/components/messages/SaveConnectorDetailsReply" },
                "deleteReply": { "$ref": "#/components/messages/DeleteConnectorDetailsReply" },
                "packed": { "$ref": "#/components/messages/SaveConnectorDetailsReplies" },
            },
            "bindings": { "amqp": queue(format!("{}*", envelope::REPLY_QUEUES), true) },
        },
        "events": events(),
        "parked": {
            "address": topology::PARKED,
            "title": "Parked commands",
            "description": "Commands that no worker can apply, with secrets masked. A body that \
                            can't be read is not kept.",
            "messages": { "parked": { "$ref": "#/components/messages/Parked" } },
            "bindings": { "amqp": queue(topology::PARKED.to_owned(), false) },
        },
    })
}

fn events() -> Value {
    json!({
        "address": "connector-details.{happened}.v1",
        "title": "Events",
        "description": format!(
            "The routing key at the topic exchange {}. Bind a queue of your own. It receives \
             the events that are published while it is bound.",
            topology::EVENTS,
        ),
        "parameters": {
            "happened": { "enum": ["saved", "deleted"], "description": "The kind of change." },
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
    })
}
