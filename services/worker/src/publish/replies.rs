//! Replies to the publishers of commands. Delivery is best effort: the ledger has the outcomes, too.
//!
//! Several replies for the same queue share a message if the publisher allows it. So a batch causes one
//! message for each gateway.

use std::{collections::HashMap, sync::Arc};

use lapin::{BasicProperties, Channel, options::BasicPublishOptions};
use proto::{
    Envelope, Outcome, Reply,
    amqp::envelope::CONTENT_TYPE,
    reply::{self, BatchedReply},
};
use runtime::broker::{BrokerError, publish::DEFAULT_EXCHANGE, within_deadline};
use serde::Serialize;
use tokio::sync::mpsc;

use super::parking::catch_panic;
use crate::{
    byte_budget::{Budget, Reservation},
    metrics::{self, ReplyOutcome},
};

/// The most replies that wait for the connection, and the most bytes of them. Further replies are dropped.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Approximate size of a reply without its details.
const OVERHEAD_BYTES: usize = 2 * 1024;
/// The most replies that are taken from the queue at once, and so the most in one message.
pub(super) const MAX_BATCHED: usize = 256;
/// A message is complete when its replies have more bytes of details than this.
const MAX_BATCHED_BYTES: usize = 128 * 1024;

/// The queue of replies. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Replies {
    sender: mpsc::Sender<PendingReply>,
    bytes: Arc<Budget>,
}

/// A reply that waits for the connection.
#[derive(Debug)]
pub(super) struct PendingReply {
    /// The queue that the reply goes to.
    to: String,
    /// The `type` of its message, if it does not share one.
    kind: &'static str,
    /// Whether it may share a message with other replies to the same queue.
    may_share: bool,
    reply: BatchedReply,
    /// Returned when the reply is written or dropped.
    _bytes: Reservation,
}

pub(super) fn channel() -> (Replies, mpsc::Receiver<PendingReply>) {
    let (sender, waiting) = mpsc::channel(MAX_WAITING);
    let bytes = Budget::new(MAX_WAITING_BYTES);
    (Replies { sender, bytes }, waiting)
}

impl Replies {
    /// Queues a reply, if the command asks for one. Never waits.
    pub fn send(&self, envelope: &Envelope, outcome: Outcome) {
        let Some(to) = envelope.reply_to.clone() else {
            return;
        };
        let bytes = OVERHEAD_BYTES + details_bytes(&outcome);
        let reply = self.bytes.reserve(bytes).map(|bytes| PendingReply {
            to,
            kind: reply::kind_of(envelope),
            may_share: envelope.pack_replies,
            reply: BatchedReply {
                correlation_id: envelope.correlation_id.clone(),
                reply: Reply {
                    command_id: envelope.command_id.clone().map(String::from),
                    outcome,
                },
            },
            _bytes: bytes,
        });
        let queued = reply.is_some_and(|reply| self.sender.try_send(reply).is_ok());
        if !queued {
            metrics::replies(ReplyOutcome::Dropped, 1);
            tracing::debug!("a reply was dropped; the ledger has the outcome of its command");
        }
    }
}

/// A message with replies to one queue.
#[derive(Debug)]
enum Message {
    Single(Box<PendingReply>),
    Shared {
        to: String,
        replies: Vec<PendingReply>,
    },
}

/// Writes replies. A reply that can't be serialised does not prevent the others.
///
/// # Errors
/// The connection is lost. The remaining replies are lost, too.
pub(super) async fn send_all(
    channel: &Channel,
    replies: impl Iterator<Item = PendingReply>,
) -> Result<(), BrokerError> {
    let mut messages = messages(replies).into_iter();
    while let Some(message) = messages.next() {
        let count = message.len();
        let Some(body) = message.encode() else {
            metrics::replies(ReplyOutcome::Failed, count);
            continue;
        };
        if let Err(error) = publish(channel, message.to(), &body, message.properties()).await {
            let lost: usize = messages.map(|message| message.len()).sum();
            metrics::replies(ReplyOutcome::Failed, count + lost);
            return Err(error);
        }
        metrics::replies(ReplyOutcome::Sent, count);
    }
    Ok(())
}

/// Distributes replies over messages. The order of the replies to one queue is kept among those that share
/// messages.
fn messages(replies: impl Iterator<Item = PendingReply>) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut shared: HashMap<String, (usize, Vec<PendingReply>)> = HashMap::new();
    for reply in replies {
        if !reply.may_share {
            messages.push(Message::Single(Box::new(reply)));
            continue;
        }
        let to = reply.to.clone();
        let (bytes, replies) = shared.entry(to.clone()).or_default();
        *bytes += details_bytes(&reply.reply.reply.outcome);
        replies.push(reply);
        if *bytes > MAX_BATCHED_BYTES {
            let replies = std::mem::take(replies);
            *bytes = 0;
            messages.push(Message::Shared { to, replies });
        }
    }
    for (to, (_, replies)) in shared {
        if !replies.is_empty() {
            messages.push(Message::Shared { to, replies });
        }
    }
    messages
}

impl Message {
    /// The number of replies.
    fn len(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Shared { replies, .. } => replies.len(),
        }
    }

    fn to(&self) -> &str {
        match self {
            Self::Single(reply) => &reply.to,
            Self::Shared { to, .. } => to,
        }
    }

    fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Single(reply) => encode(&reply.reply.reply),
            Self::Shared { replies, .. } => {
                let replies: Vec<&BatchedReply> = replies.iter().map(|it| &it.reply).collect();
                encode(&replies)
            }
        }
    }

    fn properties(&self) -> BasicProperties {
        let properties = BasicProperties::default().with_content_type(CONTENT_TYPE.into());
        match self {
            Self::Single(reply) => {
                let properties = properties.with_type(reply.kind.into());
                match &reply.reply.correlation_id {
                    Some(id) => properties.with_correlation_id(id.as_str().into()),
                    None => properties,
                }
            }
            Self::Shared { .. } => properties.with_type(reply::PACKED_TYPE.into()),
        }
    }
}

/// Serialises a body. `None` if that fails or panics, which is logged.
fn encode(body: &impl Serialize) -> Option<Vec<u8>> {
    match catch_panic("encoding a reply", || serde_json::to_vec(body))? {
        Ok(body) => Some(body),
        Err(error) => {
            tracing::error!(
                %error,
                "a reply can't be serialised; the ledger has the outcome of its command"
            );
            None
        }
    }
}

/// The bytes of the details in a reply.
fn details_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Saved { record }
        | Outcome::Deleted {
            record: Some(record),
        } => record.oauth_connector_details.len(),
        _ => 0,
    }
}

async fn publish(
    channel: &Channel,
    to: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Result<(), BrokerError> {
    // Not mandatory, because the queue is gone if its publisher has disconnected, which is not an error.
    within_deadline(channel.basic_publish(
        DEFAULT_EXCHANGE.into(),
        to.into(),
        BasicPublishOptions::default(),
        body,
        properties,
    ))
    .await
    .map(drop)
}

#[cfg(test)]
mod tests;
