//! Everything that the worker publishes: replies, commands that are parked, and (by `events`) events.
//!
//! It has a connection of its own. A broker that raises an alarm stops reading from connections
//! that publish, and acknowledgements on such a connection would be stuck behind the replies.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    uri::AMQPUri,
};
use proto::{
    Envelope, Outcome, Reply,
    broker::{self, BrokerError, within_deadline},
    envelope::CONTENT_TYPE,
    reply::{self, Packed},
    topology,
};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics;

/// Replies that wait for the socket. More than that are dropped: a reply is a courtesy, the
/// ledger is the answer.
const REPLIES: usize = 4096;
/// Replies in one message, at most, and bytes of details in them, roughly.
const PACK: usize = 256;
const PACK_BYTES: usize = 128 * 1024;
const DEFAULT_EXCHANGE: &str = "";

/// Publishes for the worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Answers {
    replies: mpsc::Sender<Answer>,
    parking: watch::Receiver<Option<Channel>>,
    events: watch::Receiver<Option<Channel>>,
}

#[derive(Debug)]
struct Answer {
    to: String,
    /// The `type` of a reply of its own.
    kind: &'static str,
    /// Whether it may share a message with others to the same queue.
    pack: bool,
    packed: Packed,
}

/// A message that is not known to be in the queue.
#[derive(Debug, thiserror::Error)]
enum NotParked {
    /// There is no connection at the moment.
    #[error("no connection to the broker")]
    Disconnected,
    /// The broker did not confirm.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The broker refused the message, or has no such queue.
    #[error("the broker refused the message")]
    Refused,
}

impl Answers {
    /// Starts the connection's supervisor. It ends after `stop`, when the replies that were
    /// handed over before have been written.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let (replies, waiting) = mpsc::channel(REPLIES);
        let (parking_sender, parking) = watch::channel(None);
        let (events_sender, events) = watch::channel(None);
        let channels = Channels {
            parking: parking_sender,
            events: events_sender,
        };
        let supervisor = tokio::spawn(supervise(uri, waiting, channels, stop));
        let answers = Self {
            replies,
            parking,
            events,
        };
        (answers, supervisor)
    }

    /// Hands over a reply, if the publisher wants one. Never waits.
    pub fn reply(&self, envelope: &Envelope, outcome: Outcome) {
        let Some(to) = envelope.reply_to.clone() else {
            return;
        };
        let answer = Answer {
            to,
            kind: reply::kind_of(envelope),
            pack: envelope.pack_replies,
            packed: Packed {
                correlation_id: envelope.correlation_id.clone(),
                reply: Reply {
                    command_id: envelope.command_id.clone().map(String::from),
                    outcome,
                },
            },
        };
        let dropped = self.replies.try_send(answer).is_err();
        metrics::replied(if dropped { "dropped" } else { "sent" });
        if dropped {
            tracing::debug!("a reply was dropped; its publisher finds the answer in the ledger");
        }
    }

    /// An error leaves open whether the message is in the queue; parking it again is the remedy.
    async fn park(&self, body: &[u8], properties: BasicProperties) -> Result<(), NotParked> {
        let channel = self
            .parking
            .borrow()
            .clone()
            .ok_or(NotParked::Disconnected)?;
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmation = within_deadline(async {
            channel
                .basic_publish(
                    DEFAULT_EXCHANGE.into(),
                    topology::PARKED.into(),
                    options,
                    body,
                    properties,
                )
                .await?
                .await
        })
        .await?;
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            _ => Err(NotParked::Refused),
        }
    }

    /// Parks a message, however long it takes. Given up by dropping it.
    pub async fn park_surely(&self, body: &[u8], properties: BasicProperties) {
        for pause in broker::backoff() {
            match self.park(body, properties.clone()).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "a message is not parked yet"),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The channel for events, with confirms, while there is one.
    #[must_use]
    pub fn events(&self) -> Option<Channel> {
        self.events.borrow().clone()
    }

    /// Whether there is a connection to publish on.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.parking.borrow().is_some()
    }
}

/// The channels with confirms, for as long as their connection lives.
struct Channels {
    parking: watch::Sender<Option<Channel>>,
    events: watch::Sender<Option<Channel>>,
}

async fn supervise(
    uri: AMQPUri,
    mut waiting: mpsc::Receiver<Answer>,
    channels: Channels,
    stop: CancellationToken,
) {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        match open(&uri).await {
            Ok((connection, replies, parked, events)) => {
                let started = Instant::now();
                channels.parking.send_replace(Some(parked));
                channels.events.send_replace(Some(events));
                write(&connection, &replies, &mut waiting, &stop).await;
                channels.parking.send_replace(None);
                channels.events.send_replace(None);
                broker::close(&connection).await;
                if started.elapsed() > broker::GOOD_SESSION {
                    pauses = broker::backoff();
                }
            }
            Err(error) => tracing::warn!(%error, "no connection for replies; trying again"),
        }
        let pause = pauses.next().unwrap_or(Duration::from_secs(5));
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

async fn open(uri: &AMQPUri) -> Result<(Connection, Channel, Channel, Channel), BrokerError> {
    let connection = broker::connect(uri, "connector-details-worker answers").await?;
    let replies = within_deadline(connection.create_channel()).await?;
    let parked = confirming(&connection).await?;
    let events = confirming(&connection).await?;
    Ok((connection, replies, parked, events))
}

async fn confirming(connection: &Connection) -> Result<Channel, BrokerError> {
    let channel = within_deadline(connection.create_channel()).await?;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Writes replies until the connection is lost, or until `stop` and nothing waits any more.
async fn write(
    connection: &Connection,
    channel: &Channel,
    waiting: &mut mpsc::Receiver<Answer>,
    stop: &CancellationToken,
) {
    let lost = broker::lost(connection);
    tokio::pin!(lost);
    let mut answers = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = waiting.recv_many(&mut answers, PACK) => count,
            () = stop.cancelled() => return,
            reason = &mut lost => {
                tracing::warn!(reason, "the connection for replies was lost");
                return;
            }
        };
        if count == 0 {
            return;
        }
        if let Err(error) = send_all(channel, answers.drain(..)).await {
            tracing::warn!(%error, "a reply could not be written");
            return;
        }
    }
}

/// Sends answers, those that may share a message in as few as there are queues to go to: what a
/// batch decided for one gateway is one message.
async fn send_all(
    channel: &Channel,
    answers: impl Iterator<Item = Answer>,
) -> Result<(), BrokerError> {
    let mut packs: HashMap<String, Vec<Packed>> = HashMap::new();
    let mut bytes = 0;
    for Answer {
        to,
        kind,
        pack,
        packed,
    } in answers
    {
        if !pack {
            send(channel, &to, kind, packed).await?;
            continue;
        }
        if let Outcome::Saved { record }
        | Outcome::Deleted {
            record: Some(record),
        } = &packed.reply.outcome
        {
            bytes += record.oauth_connector_details.len();
        }
        packs.entry(to).or_default().push(packed);
        if bytes > PACK_BYTES {
            send_packs(channel, packs.drain()).await?;
            bytes = 0;
        }
    }
    send_packs(channel, packs.drain()).await
}

async fn send_packs(
    channel: &Channel,
    packs: impl Iterator<Item = (String, Vec<Packed>)>,
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
    packed: Packed,
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
    let Ok(body) = serde_json::to_vec(body) else {
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
