//! The messages of the AsyncAPI document: their headers, their AMQP properties and their bodies.

use serde_json::{Value, json};

use super::{DELETE, SAVE};
use crate::{
    amqp::{
        envelope::{self, MAX_TRACESTATE_BYTES, PACK_REPLIES, SUBJECT},
        parked,
    },
    event, reply,
};

/// All of them, by name.
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
    let description = "W3C trace state; a longer one is dropped.";
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
                    "The person behind the command. It counts from a publisher that may write to \
                     every Space, and from each where PUBLISHERS is not set; from another publisher, \
                     and where it is blank, it is ignored.",
                ),
                PACK_REPLIES: {
                    "type": "boolean",
                    "description": "Whether several replies may come in one message.",
                },
            },
        },
        "payload": payload(name),
        // AsyncAPI has no place of its own for AMQP's properties.
        "x-amqp-properties": {
            "type": name,
            "content_type": "application/json, and no other charset than utf-8. Required.",
            "content_encoding": "Missing, or identity: another is refused.",
            "message_id": "The command's id, unique in its Space, 1 to 255 bytes: a repeat has \
                           the same and changes nothing; other content under it is a CONFLICT. \
                           Required.",
            "correlation_id": "Echoed in the reply; missing: the message_id.",
            "reply_to": "Where the reply goes; missing: nowhere.",
            "delivery_mode": "2, persistent.",
            "priority": "Missing, or 0: another is refused, since commands take effect in the order \
                         in which they were published.",
            "expiration": "Don't set it. A command that expires before a worker takes it is not \
                           applied, though it was confirmed: it is parked as EXPIRED.",
            "timestamp": "When it was published, in seconds since 1970 UTC.",
            "user_id": "The broker user, checked by the broker. Required where PUBLISHERS is set.",
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
            "correlation_id": "That of the command; missing there: its message_id.",
        },
    });
    message(name, title, rest)
}

fn packed() -> Value {
    let rest = json!({
        "payload": payload(reply::PACKED_TYPE),
        "summary": "Replies to saves and to deletions, for a publisher that set x-pack-replies.",
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
            "message_id": "The record's id and the revision that came of it, ID:REVISION.",
            "delivery_mode": "2, persistent.",
            "timestamp": "When it was announced, in seconds since 1970 UTC.",
            "app_id": "connector-details-worker",
        },
    });
    message(name, title, rest)
}

/// Not bound to one type: a parked message keeps the type of the command.
fn parked() -> Value {
    let integer = |description: &str| json!({ "type": "integer", "description": description });
    json!({
        "name": "Parked",
        "title": "A command that nobody can apply",
        "contentType": envelope::CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": {
                "traceparent": traceparent(),
                "tracestate": tracestate(),
                SUBJECT: header("That of the command."),
                PACK_REPLIES: { "type": "boolean", "description": "That of the command." },
                parked::REASON: header("The code of the refusal."),
                parked::FIELD: header("The field or property at fault, where there is one."),
                parked::USER_ID: header("The broker user of the publisher."),
                parked::PARKED_AT: integer("When, in milliseconds since 1970 UTC."),
                parked::BODY_BYTES: integer("The length of the body as it came."),
            },
        },
        "payload": {
            "type": "object",
            "description": "The fields of the command that are well formed, secrets masked; of a body \
                            that can't be read, nothing.",
        },
        "x-amqp-properties": {
            "type": "That of the command, and so are content_type, message_id, correlation_id, \
                     timestamp and app_id, as far as they could be read. No reply_to, priority, \
                     content_encoding or expiration.",
            "delivery_mode": "2, persistent.",
        },
    })
}
