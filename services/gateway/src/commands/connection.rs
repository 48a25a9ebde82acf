//! The gateway's connection to the broker: publishes commands and receives their replies.
//!
//! One session owns connection, channel and reply queue, and drops all of them at the first
//! error. The queue is exclusive to the connection: replies are lost with it, and whoever waits is
//! told at once. (Direct reply-to was measured beside it: as fast with many callers, 8 % slower
//! with one, and its p99 with one caller twice as long.)

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Consumer,
    message::Delivery,
    options::{
        BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::FieldTable,
    uri::AMQPUri,
};
use proto::{
    Kind, Reply,
    amqp::{
        envelope::REPLY_QUEUES,
        topology::{self, TopologyError},
    },
    reply::{self, BatchedReply},
};
use runtime::broker::{self, BrokerError, within_deadline};
use runtime::{
    queue_depth::{self, Labelled},
    traces::Span,
};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    frame::content_header_bytes,
    pending::{PendingReplies, ReplySlot, SendEvent},
};
use crate::{log_throttle::LogThrottle, metrics};

/// What is passed on is never more than the contract allows.
const _: () =
    assert!(runtime::traces::MAX_TRACESTATE_BYTES <= proto::amqp::envelope::MAX_TRACESTATE_BYTES);
/// The queue whose depth is a metric. Without it no command can be published.
const QUEUES: &[Labelled] = &[("commands", topology::QUEUE)];
/// Commands that may wait for the socket. One more is refused at once: what can't be written now
/// would only be answered later.
const JOBS: usize = 4096;
/// Between two looks at what the broker said of the commands, while it says nothing else.
const LOOK: Duration = Duration::from_millis(5);

/// A larger message on the reply queue is not read. The worker packs 128 KiB of details into one,
/// roughly.
const LARGEST_REPLY_BYTES: usize = 4 * 1024 * 1024;

/// A command on its way out.
#[derive(Debug)]
pub(crate) struct OutgoingCommand {
    pub kind: Kind,
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    /// Slot what happens to the command.
    pub slot: ReplySlot,
    /// Ends with the broker's word.
    pub sending: Span,
}

/// The way to the current session, while there is one.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    jobs: mpsc::Sender<OutgoingCommand>,
    blocked: watch::Receiver<bool>,
    reply_to: Arc<str>,
}

impl Link {
    /// The queue that replies have to be sent to.
    pub fn reply_to(&self) -> &str {
        &self.reply_to
    }

    /// Hands over a command. False: nothing of it has left for the broker, and nothing will.
    #[must_use]
    pub fn send(&self, job: OutgoingCommand) -> bool {
        self.is_open() && self.jobs.try_send(job).is_ok()
    }

    /// Whether the broker takes commands at the moment.
    pub fn is_open(&self) -> bool {
        !*self.blocked.borrow()
    }
}

/// What ends a session.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker ended the reply consumer")]
    Ended,
    #[error("{0}")]
    Lost(String),
}

/// Keeps a link up until told to stop, through as many connections as it takes.
///
/// # Errors
/// An exchange or a queue exists with other arguments, which no retry will change.
pub(crate) async fn supervise(
    uri: AMQPUri,
    pending: PendingReplies,
    link: watch::Sender<Option<Link>>,
    stop: CancellationToken,
) -> Result<(), TopologyError> {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        let started = Instant::now();
        match session(&uri, &pending, &link, &stop).await {
            Ok(()) => break,
            Err(SessionError::Topology(error)) if error.is_mismatch() => return Err(error),
            Err(error) => tracing::warn!(%error, "no connection to the broker; trying again"),
        }
        if started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        let pause = pauses.next().unwrap_or(broker::DEADLINE);
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    Ok(())
}

async fn session(
    uri: &AMQPUri,
    pending: &PendingReplies,
    link: &watch::Sender<Option<Link>>,
    stop: &CancellationToken,
) -> Result<(), SessionError> {
    let connection = broker::connect(uri, "connector-details-gateway").await?;
    let reply_to = format!("{REPLY_QUEUES}{}", Uuid::new_v4().simple());
    let (channel, replies) = open(&connection, &reply_to).await?;
    let _watch = queue_depth::Watch::start(&connection, QUEUES).await?;
    let (jobs, waiting) = mpsc::channel(JOBS);
    let (blocked, is_blocked) = watch::channel(false);
    link.send_replace(Some(Link {
        jobs,
        blocked: is_blocked,
        reply_to: reply_to.into(),
    }));
    tracing::info!("connected to the broker");
    let mut session = Session {
        frame_max: frame_max(&connection),
        channel,
        replies,
        waiting,
        pending,
        blocked,
        warned: LogThrottle::default(),
    };
    let result = session.run(&connection, stop).await;
    link.send_replace(None);
    session.abandon();
    broker::close(&connection).await;
    result
}

/// The largest frame that the broker takes. It says 0 where it has no limit.
fn frame_max(connection: &Connection) -> usize {
    match connection.configuration().frame_max() {
        0 => usize::MAX,
        limited => usize::try_from(limited).unwrap_or(usize::MAX),
    }
}

async fn open(
    connection: &Connection,
    reply_to: &str,
) -> Result<(Channel, Consumer), SessionError> {
    let channel = prepared(connection).await?;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    // Before the first command: an answer has nowhere to go otherwise.
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    within_deadline(channel.queue_declare(reply_to.into(), exclusive, FieldTable::default()))
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let replies = within_deadline(channel.basic_consume(
        reply_to.into(),
        "".into(),
        options,
        FieldTable::default(),
    ))
    .await?;
    Ok((channel, replies))
}

/// A channel, and something to publish to: declared, or found where declaring is the worker's.
async fn prepared(connection: &Connection) -> Result<Channel, SessionError> {
    let channel = within_deadline(connection.create_channel()).await?;
    match timeout(broker::DEADLINE, topology::declare(&channel)).await {
        Ok(Ok(())) => return Ok(channel),
        Ok(Err(error)) if error.is_refused() => {}
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(BrokerError::Deadline.into()),
    }
    // The refusal has closed the other.
    let channel = within_deadline(connection.create_channel()).await?;
    timeout(broker::DEADLINE, topology::check(&channel))
        .await
        .map_err(|_| BrokerError::Deadline)??;
    Ok(channel)
}

struct Session<'a> {
    channel: Channel,
    frame_max: usize,
    replies: Consumer,
    waiting: mpsc::Receiver<OutgoingCommand>,
    pending: &'a PendingReplies,
    blocked: watch::Sender<bool>,
    warned: LogThrottle,
}

impl Session<'_> {
    async fn run(
        &mut self,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let mut in_flight = FuturesUnordered::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = Box::pin(connection.events_listener());
        let end = loop {
            tokio::select! {
                Some(job) = self.waiting.recv() => {
                    in_flight.push(publish(self.channel.clone(), self.frame_max, job));
                }
                _ = look.tick(), if !in_flight.is_empty() => {}
                delivery = self.replies.next() => match delivery {
                    Some(Ok(delivery)) => self.answer(&delivery),
                    Some(Err(error)) => break Err(BrokerError::from(error).into()),
                    None => break Err(SessionError::Ended),
                },
                event = events.next() => match event {
                    Some(lapin::Event::ConnectionBlocked(_)) => self.set_blocked(true),
                    Some(lapin::Event::ConnectionUnblocked) => self.set_blocked(false),
                    Some(lapin::Event::Error(error)) => {
                        break Err(SessionError::Lost(error.to_string()));
                    }
                    Some(_) => {}
                    None => break Err(SessionError::Ended),
                },
                () = stop.cancelled() => break Ok(()),
            }
            self.look_at(&mut in_flight)?;
        };
        // What was confirmed before the end is known to be.
        let _ = self.look_at(&mut in_flight);
        end
    }

    /// Begins to publish what is new, and hears what the broker said of the rest. Nobody waits for
    /// that: to be woken for each message that is written, and again for each that is confirmed, costs
    /// more than publishing it.
    fn look_at(
        &self,
        in_flight: &mut FuturesUnordered<impl Future<Output = End>>,
    ) -> Result<(), SessionError> {
        while let Some(Some(end)) = in_flight.next().now_or_never() {
            // Under an alarm the broker confirms nothing, and has said so.
            if end == End::Silence && !*self.blocked.borrow() {
                return Err(SessionError::Lost("no confirm came in time".to_owned()));
            }
        }
        Ok(())
    }

    /// Tells everyone who still waits that no answer will come on this channel any more.
    fn abandon(&mut self) {
        self.waiting.close();
        while let Ok(job) = self.waiting.try_recv() {
            job.slot.tell(SendEvent::NotSent);
        }
        self.pending.abandon();
    }

    fn answer(&mut self, delivery: &Delivery) {
        if delivery.data.len() > LARGEST_REPLY_BYTES {
            return self.ignore("too large");
        }
        let kind = delivery.properties.kind().as_ref();
        let replies = if kind.is_some_and(|kind| kind.as_str() == reply::PACKED_TYPE) {
            serde_json::from_slice::<Vec<BatchedReply>>(&delivery.data)
        } else {
            let id = delivery.properties.correlation_id().as_ref();
            serde_json::from_slice::<Reply>(&delivery.data).map(|reply| {
                let correlation_id = id.map(ToString::to_string);
                vec![BatchedReply {
                    correlation_id,
                    reply,
                }]
            })
        };
        let Ok(replies) = replies else {
            return self.ignore("unreadable");
        };
        for packed in replies {
            let id = packed.correlation_id.and_then(|id| id.parse().ok());
            if let Some(id) = id
                && self.pending.answer(id, packed.reply).is_err()
            {
                self.ignore("another command");
            }
        }
    }

    /// Whoever may write to the reply queue may send anything. Whoever waits for a reply that could
    /// not be read finds the decision in the ledger.
    fn ignore(&mut self, reason: &'static str) {
        metrics::reply_ignored(reason);
        if self.warned.is_due() {
            tracing::warn!(
                reason,
                "a reply is ignored; its command is looked up instead"
            );
        }
    }

    fn set_blocked(&self, blocked: bool) {
        tracing::warn!(blocked, "the broker's alarm changed");
        self.blocked.send_replace(blocked);
    }
}

/// How following a command to its confirm ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With a word of the broker, or of the connection.
    Known,
    /// Without any, for too long: what we send may be lost on its way.
    Silence,
}

/// Publishes one command and follows it to its confirm. Nobody cancels this: what is half
/// published and forgotten would be neither saved nor known.
async fn publish(channel: Channel, frame_max: usize, mut job: OutgoingCommand) -> End {
    if job.slot.is_alone() {
        return End::Known;
    }
    if content_header_bytes(&job.properties).is_none_or(|bytes| bytes > frame_max) {
        tracing::error!("a command's properties do not fit into a frame; it was not sent");
        job.sending.fail("too large");
        job.slot.tell(SendEvent::TooLarge);
        return End::Known;
    }
    let started = Instant::now();
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let publish = async {
        let written = channel.basic_publish(
            topology::COMMANDS.into(),
            job.kind.routing_key().into(),
            options,
            &job.body,
            job.properties,
        );
        Ok::<_, lapin::Error>(match written.await?.await? {
            Confirmation::Ack(None) => None,
            // `mandatory` and no queue to go to: confirmed and returned.
            Confirmation::Ack(Some(_)) | Confirmation::NotRequested => Some(SendEvent::Unroutable),
            Confirmation::Nack(_) => Some(SendEvent::QueueFull),
        })
    };
    let (progress, end) = match within_deadline(publish).await {
        Ok(progress) => (progress, End::Known),
        // Handed to the socket's buffer and then given up: some of it may have left.
        Err(BrokerError::Amqp(_)) => (Some(SendEvent::Lost), End::Known),
        Err(BrokerError::Deadline) => (Some(SendEvent::Lost), End::Silence),
    };
    let outcome = match &progress {
        None => "confirmed",
        Some(SendEvent::QueueFull) => "queue full",
        Some(SendEvent::Unroutable) => "unroutable",
        Some(_) => "lost",
    };
    metrics::published(outcome, started.elapsed());
    if progress.is_some() {
        job.sending.fail(outcome);
    }
    match progress {
        None => job.slot.confirm(),
        Some(progress) => job.slot.tell(progress),
    }
    end
}
