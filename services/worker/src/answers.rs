//! Everything that the worker publishes: replies, commands that are parked, and (by `events`) events.
//!
//! It has a connection of its own. A broker that raises an alarm stops reading from connections
//! that publish, and acknowledgements on such a connection would be stuck behind the replies.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    uri::AMQPUri,
};
use proto::{
    Envelope, Outcome, Reply,
    amqp::{envelope::CONTENT_TYPE, topology},
    reply::{self, Packed},
};
use runtime::{
    broker::{self, BrokerError, within_deadline},
    queue_depth,
};
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{Budget, Share},
    metrics,
    parking::{ParkedCopy, contained},
};

/// Replies that wait for the socket, and the bytes that they take. More than that are dropped: a reply
/// is a courtesy, the ledger is the answer.
const REPLIES: usize = 4096;
const REPLY_BYTES: usize = 16 * 1024 * 1024;
/// What a reply takes beside the details, roughly.
const REPLY_OVERHEAD: usize = 2 * 1024;
/// Between two looks at the channels, and at how much is parked.
const LOOK: Duration = Duration::from_secs(1);
/// Replies in one message, at most, and bytes of details in them, roughly.
const PACK: usize = 256;
const PACK_BYTES: usize = 128 * 1024;
const DEFAULT_EXCHANGE: &str = "";

/// Publishes for the worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Answers {
    replies: mpsc::Sender<Answer>,
    reply_bytes: Arc<Budget>,
    parking: watch::Receiver<Option<Channel>>,
    events: watch::Receiver<Option<Channel>>,
    /// How many messages are parked, as far as is known.
    parked: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Answer {
    to: String,
    /// The `type` of a reply of its own.
    kind: &'static str,
    /// Whether it may share a message with others to the same queue.
    pack: bool,
    packed: Packed,
    /// Given back when it is written, or dropped.
    _bytes: Share,
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
    /// The queue is full.
    #[error("the queue of parked messages is full")]
    Full,
    /// There is no such queue at the moment.
    #[error("there is no queue for parked messages")]
    NoQueue,
}

impl Answers {
    /// Starts the connection's supervisor. It ends after `stop`, when the replies that were
    /// handed over before have been written.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let (replies, waiting) = mpsc::channel(REPLIES);
        let (parking_sender, parking) = watch::channel(None);
        let (events_sender, events) = watch::channel(None);
        let parked = Arc::<AtomicU32>::default();
        let channels = Channels {
            parking: parking_sender,
            events: events_sender,
            parked: parked.clone(),
        };
        let supervisor = tokio::spawn(supervise(uri, waiting, channels, stop));
        let answers = Self {
            replies,
            reply_bytes: Budget::new(REPLY_BYTES),
            parking,
            events,
            parked,
        };
        (answers, supervisor)
    }

    /// Hands over a reply, if the publisher wants one. Never waits.
    pub fn reply(&self, envelope: &Envelope, outcome: Outcome) {
        let Some(to) = envelope.reply_to.clone() else {
            return;
        };
        let bytes = REPLY_OVERHEAD + details_bytes(&outcome);
        let answer = self.reply_bytes.take(bytes).map(|bytes| Answer {
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
            _bytes: bytes,
        });
        let sent = answer.is_some_and(|answer| self.replies.try_send(answer).is_ok());
        metrics::replied(if sent { "sent" } else { "dropped" });
        if !sent {
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
            Confirmation::Ack(None) => {
                self.parked.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Confirmation::Ack(Some(_)) | Confirmation::NotRequested => Err(NotParked::NoQueue),
            Confirmation::Nack(_) => Err(NotParked::Full),
        }
    }

    /// Parks a message, however long it takes. Given up by dropping it.
    ///
    /// Where much is parked already, only the headers are kept. Where `.parked` is full, a copy that may
    /// be left out is: to wait for a place would hold up the commands of everybody else.
    pub(crate) async fn park_surely(&self, mut copy: ParkedCopy) {
        for pause in broker::backoff() {
            if self.parked.load(Ordering::Relaxed) >= topology::PARKED_WITH_BODY {
                copy.body.clear();
            }
            match self.park(&copy.body, copy.properties.clone()).await {
                Ok(()) => return,
                Err(NotParked::Full) if !copy.body.is_empty() => {
                    copy.body.clear();
                    continue;
                }
                Err(NotParked::Full) if copy.may_be_left_out => {
                    let id = copy.properties.message_id().as_ref();
                    tracing::error!(
                        command.id = id.map(lapin::types::ShortString::as_str),
                        "the queue of parked messages is full: a refused command is not kept"
                    );
                    metrics::not_parked();
                    return;
                }
                Err(error) => tracing::warn!(%error, "a message is not parked yet"),
            }
            sleep(pause).await;
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
    parked: Arc<AtomicU32>,
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
            Ok((connection, all)) => {
                let started = Instant::now();
                let [replies, parked, events] = &all;
                channels.parking.send_replace(Some(parked.clone()));
                channels.events.send_replace(Some(events.clone()));
                let watching = watch_channels(&connection, &all, &channels.parked);
                write(&connection, replies, &mut waiting, watching, &stop).await;
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
        let _ = stop.run_until_cancelled(sleep(pause)).await;
    }
}

/// A connection, and its channels for replies, for parked messages and for events.
async fn open(uri: &AMQPUri) -> Result<(Connection, [Channel; 3]), BrokerError> {
    let connection = broker::connect(uri, "connector-details-worker answers").await?;
    let replies = within_deadline(connection.create_channel()).await?;
    let parked = confirming(&connection).await?;
    let events = confirming(&connection).await?;
    Ok((connection, [replies, parked, events]))
}

/// Ends when a channel is closed: the broker closes one where an exchange is missing, and all of them
/// are opened anew then. Counts what is parked meanwhile.
async fn watch_channels(connection: &Connection, all: &[Channel], parked: &AtomicU32) {
    let mut look: Option<Channel> = None;
    loop {
        // At first: somebody else declares the queue meanwhile.
        sleep(LOOK).await;
        if !all.iter().all(|channel| channel.status().connected()) {
            return;
        }
        let open = look.take().filter(|channel| channel.status().connected());
        let channel = match open {
            Some(channel) => Ok(channel),
            // A queue that was missing has closed the other.
            None => within_deadline(connection.create_channel()).await,
        };
        if let Ok(channel) = channel {
            let depth = queue_depth::depth(&channel, topology::PARKED);
            // A broker under an alarm answers later.
            if let Ok(Ok(depth)) = timeout(broker::DEADLINE, depth).await {
                parked.store(depth.messages, Ordering::Relaxed);
            }
            look = Some(channel);
        }
    }
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
    watching: impl Future<Output = ()>,
    stop: &CancellationToken,
) {
    let lost = broker::lost(connection);
    tokio::pin!(lost, watching);
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
            () = &mut watching => {
                tracing::warn!("a channel was closed; opening all of them again");
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
        _bytes,
    } in answers
    {
        if !pack {
            send(channel, &to, kind, packed).await?;
            continue;
        }
        bytes += details_bytes(&packed.reply.outcome);
        packs.entry(to).or_default().push(packed);
        if bytes > PACK_BYTES {
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
