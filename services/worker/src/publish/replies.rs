//! Replies to the publishers of commands: best effort, and packed where they may be.

use std::{collections::HashMap, sync::Arc};

use lapin::{BasicProperties, Channel, options::BasicPublishOptions};
use proto::{
    Envelope, Outcome, Reply,
    amqp::envelope::CONTENT_TYPE,
    reply::{self, BatchedReply},
};
use runtime::broker::{BrokerError, within_deadline};
use serde::Serialize;
use tokio::sync::mpsc;

use super::parking::contained;
use crate::{
    byte_budget::{Budget, Share},
    metrics,
};

/// Replies that wait for the socket, and the bytes that they take. More than that are dropped: the ledger
/// has the outcome, too.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// What a reply takes beside the details, roughly.
const OVERHEAD_BYTES: usize = 2 * 1024;
/// The most replies in one message, and bytes of details in them, roughly.
pub(super) const MAX_PACKED: usize = 256;
const MAX_PACKED_BYTES: usize = 128 * 1024;
const DEFAULT_EXCHANGE: &str = "";

/// Where replies are handed over. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Replies {
    sender: mpsc::Sender<PendingReply>,
    bytes: Arc<Budget>,
}

/// A reply that waits for the socket.
#[derive(Debug)]
pub(super) struct PendingReply {
    to: String,
    /// The `type` of a reply of its own.
    kind: &'static str,
    /// Whether it may share a message with others to the same queue.
    pack: bool,
    packed: BatchedReply,
    /// Given back when it is written, or dropped.
    _bytes: Share,
}

pub(super) fn channel() -> (Replies, mpsc::Receiver<PendingReply>) {
    let (sender, waiting) = mpsc::channel(MAX_WAITING);
    let bytes = Budget::new(MAX_WAITING_BYTES);
    (Replies { sender, bytes }, waiting)
}

impl Replies {
    /// Hands over a reply, if the publisher of the command wants one. Never waits.
    pub fn send(&self, envelope: &Envelope, outcome: Outcome) {
        let Some(to) = envelope.reply_to.clone() else {
            return;
        };
        let bytes = OVERHEAD_BYTES + details_bytes(&outcome);
        let reply = self.bytes.take(bytes).map(|bytes| PendingReply {
            to,
            kind: reply::kind_of(envelope),
            pack: envelope.pack_replies,
            packed: BatchedReply {
                correlation_id: envelope.correlation_id.clone(),
                reply: Reply {
                    command_id: envelope.command_id.clone().map(String::from),
                    outcome,
                },
            },
            _bytes: bytes,
        });
        let sent = reply.is_some_and(|reply| self.sender.try_send(reply).is_ok());
        metrics::replied(if sent { "sent" } else { "dropped" });
        if !sent {
            tracing::debug!("a reply was dropped; its publisher finds the answer in the ledger");
        }
    }
}

/// Sends replies, those that may share a message in as few as there are queues to go to: what a
/// batch decided for one gateway is one message.
pub(super) async fn send_all(
    channel: &Channel,
    batch: impl Iterator<Item = PendingReply>,
) -> Result<(), BrokerError> {
    let mut packs: HashMap<String, Vec<BatchedReply>> = HashMap::new();
    let mut bytes = 0;
    for PendingReply {
        to,
        kind,
        pack,
        packed,
        _bytes,
    } in batch
    {
        if !pack {
            send(channel, &to, kind, packed).await?;
            continue;
        }
        bytes += details_bytes(&packed.reply.outcome);
        packs.entry(to).or_default().push(packed);
        if bytes > MAX_PACKED_BYTES {
            send_packs(channel, packs.drain()).await?;
            bytes = 0;
        }
    }
    send_packs(channel, packs.drain()).await
}

/// How long the details in a reply are.
fn details_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Saved { record }
        | Outcome::Deleted {
            record: Some(record),
        } => record.oauth_connector_details.len(),
        _ => 0,
    }
}

async fn send_packs(
    channel: &Channel,
    packs: impl Iterator<Item = (String, Vec<BatchedReply>)>,
) -> Result<(), BrokerError> {
    for (to, pack) in packs {
        let properties = BasicProperties::default().with_type(reply::PACKED_TYPE.into());
        publish(channel, &to, &pack, properties).await?;
    }
    Ok(())
}

async fn send(
    channel: &Channel,
    to: &str,
    kind: &'static str,
    packed: BatchedReply,
) -> Result<(), BrokerError> {
    let mut properties = BasicProperties::default().with_type(kind.into());
    if let Some(id) = packed.correlation_id {
        properties = properties.with_correlation_id(id.into());
    }
    publish(channel, to, &packed.reply, properties).await
}

async fn publish(
    channel: &Channel,
    to: &str,
    body: &impl Serialize,
    properties: BasicProperties,
) -> Result<(), BrokerError> {
    let encoded = contained("encoding a reply", || serde_json::to_vec(body));
    let Some(Ok(body)) = encoded else {
        tracing::error!("a reply can't be encoded; its publisher finds the answer in the ledger");
        return Ok(());
    };
    // Not mandatory: whoever asked may be gone, and that is no fault.
    within_deadline(channel.basic_publish(
        DEFAULT_EXCHANGE.into(),
        to.into(),
        BasicPublishOptions::default(),
        &body,
        properties.with_content_type(CONTENT_TYPE.into()),
    ))
    .await
    .map(drop)
}
