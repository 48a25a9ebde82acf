//! The messages of the AsyncAPI document, with headers, AMQP properties and bodies.

use serde_json::{Value, json};

use super::{DELETE, SAVE};
use crate::{
    amqp::{
        envelope::{self, MAX_TRACESTATE_BYTES, PACK_REPLIES, SUBJECT},
        parked,
    },
    event, reply,
};

/// All messages, by name.
pub(super) fn all() -> Value {
    json!({
        "SaveConnectorDetails": command(SAVE, "Save connector details"),
        "DeleteConnectorDetails": command(DELETE, "Delete connector details"),
        "SaveConnectorDetailsReply": reply(reply::TYPE, "The outcome of a save"),
        "DeleteConnectorDetailsReply": reply(reply::DELETE_TYPE, "The outcome of a deletion"),
        "SaveConnectorDetailsReplies": packed(),
        "ConnectorDetailsSaved": event(event::SAVED_TYPE, "A record was saved"),
        "ConnectorDetailsDeleted": event(event::DELETED_TYPE, "A record was deleted"),
        "Parked": parked(),
    })
}

fn message(name: &str, title: &str, rest: Value) -> Value {
    let mut message = json!({
        "name": name,
        "title": title,
        "contentType": envelope::CONTENT_TYPE,
        "bindings": { "amqp": { "messageType": name, "bindingVersion": "0.3.0" } },
    });
    if let (Value::Object(message), Value::Object(rest)) = (&mut message, rest) {
        message.extend(rest);
    }
    message
}

fn payload(name: &str) -> Value {
    json!({ "$ref": format!("./schemas/{name}.json") })
}

fn text(max_length: usize, description: &str) -> Value {
    json!({ "type": "string", "maxLength": max_length, "description": description })
}

fn header(description: &str) -> Value {
    text(1024, description)
}

fn traceparent() -> Value {
    let mut traceparent = text(55, "W3C trace context of the publisher.");
    traceparent["pattern"] = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$".into();
    traceparent
}

fn tracestate() -> Value {
    let description = "W3C trace state. A longer value is dropped.";
    text(MAX_TRACESTATE_BYTES, description)
}

fn command(name: &str, title: &str) -> Value {
    let rest = json!({
        "headers": {
            "type": "object",
            "properties": {
                "traceparent": traceparent(),
                "tracestate": tracestate(),
                SUBJECT: header(
                    "The person behind the command. It is used if the publisher may write to every \
                     Space, or if PUBLISHERS is not set. From other publishers, and if it is \
                     blank, it is ignored.",
                ),
                PACK_REPLIES: {
                    "type": "boolean",
                    "description": "Whether one message may hold several replies.",
                },
            },
        },
        "payload": payload(name),
        // AsyncAPI has no field for AMQP properties.
        "x-amqp-properties": {
            "type": name,
            "content_type": "Required. application/json; a charset, if any, must be utf-8.",
            "content_encoding": "Missing or identity. Other values are refused.",
            "message_id": "Required. The command id, 1 to 255 bytes, unique in its Space. A repeat \
                           has the same id and changes nothing. Other content with a used id is a \
                           CONFLICT.",
            "correlation_id": "Copied to the reply. If it is missing, the reply has the message_id.",
            "reply_to": "The queue for the reply. If it is missing, no reply is sent.",
            "delivery_mode": "2, persistent.",
            "priority": "Missing or 0. Other values are refused, because commands take effect in \
                         the order in which they were published.",
            "expiration": "Don't set it. A command that expires before a worker receives it is not \
                           applied, although it was confirmed. It is parked as EXPIRED.",
            "timestamp": "When the command was published, in seconds since 1970 UTC.",
            "user_id": "The broker user, which the broker checks. Required if PUBLISHERS is set.",
            "app_id": "The publishing service.",
        },
    });
    message(name, title, rest)
}

fn reply(name: &str, title: &str) -> Value {
    let rest = json!({
        "payload": payload(name),
        "x-amqp-properties": {
            "type": name,
            "content_type": envelope::CONTENT_TYPE,
            "correlation_id": "The correlation_id of the command, or its message_id if it has none.",
        },
    });
    message(name, title, rest)
}

fn packed() -> Value {
    let rest = json!({
        "payload": payload(reply::PACKED_TYPE),
        "summary": "Replies to saves and deletions, for a publisher that set x-pack-replies.",
        "x-amqp-properties": {
            "type": reply::PACKED_TYPE,
            "content_type": envelope::CONTENT_TYPE,
        },
    });
    message(reply::PACKED_TYPE, "The outcomes of several commands", rest)
}

fn event(name: &str, title: &str) -> Value {
    let rest = json!({
        "headers": { "type": "object", "properties": { "traceparent": traceparent() } },
        "payload": payload(name),
        "x-amqp-properties": {
            "type": name,
            "content_type": envelope::CONTENT_TYPE,
            "message_id": "The record's id and its revision after the change, ID:REVISION.",
            "delivery_mode": "2, persistent.",
            "timestamp": "When the event was published, in seconds since 1970 UTC.",
            "app_id": "connector-details-worker",
        },
    });
    message(name, title, rest)
}

/// The message has no `messageType`: it keeps the type of the command.
fn parked() -> Value {
    let integer = |description: &str| json!({ "type": "integer", "description": description });
    json!({
        "name": "Parked",
        "title": "A command that no worker can apply",
        "contentType": envelope::CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {
                "traceparent": traceparent(),
                "tracestate": tracestate(),
                SUBJECT: header("Copied from the command."),
                PACK_REPLIES: { "type": "boolean", "description": "Copied from the command." },
                parked::REASON: header("The error code of the refusal."),
                parked::FIELD: header("The field or property that is wrong, if the error names one."),
                parked::USER_ID: header("The broker user of the publisher."),
                parked::PARKED_AT: integer("When the command was parked, in milliseconds since 1970 \
                    UTC."),
                parked::BODY_BYTES: integer("The length of the original body, in bytes."),
            },
        },
        "payload": {
            "type": "object",
            "description": "The valid fields of the command, with secrets masked. Empty if the body \
                            can't be read.",
        },
        "x-amqp-properties": {
            "type": "Copied from the command, like content_type, message_id, correlation_id, \
                     timestamp and app_id, if they can be read. There is no reply_to, priority, \
                     content_encoding or expiration.",
            "delivery_mode": "2, persistent.",
        },
    })
}
