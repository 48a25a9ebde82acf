//! The connection that publishes, with its three channels: for replies, parked commands and events.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use lapin::{Channel, Connection, uri::AMQPUri};
use proto::amqp::topology;
use runtime::{
    broker::{self, BrokerError, publish::confirm_channel, within_deadline},
    queue_depth,
    supervise::{Next, Session, supervise},
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::replies::{self, MAX_BATCHED, PendingReply};

/// How often to check whether the channels are open, and to read the depth of `.parked`.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// Where the supervisor publishes its state.
pub(super) struct Shared {
    /// The channels with publisher confirms, while the broker takes messages.
    pub parking: watch::Sender<Option<Channel>>,
    pub events: watch::Sender<Option<Channel>>,
    /// Whether the connection is open.
    pub connected: watch::Sender<bool>,
    /// The number of parked messages.
    pub parked: Arc<AtomicU32>,
}

/// The channels of one connection.
struct Channels {
    replies: Channel,
    parking: Channel,
    events: Channel,
}

impl Shared {
    fn set(&self, channels: Option<&Channels>) {
        let parking = channels.map(|channels| channels.parking.clone());
        let events = channels.map(|channels| channels.events.clone());
        self.parking.send_replace(parking);
        self.events.send_replace(events);
    }
}

/// Keeps a connection open and writes replies, until `stop`.
pub(super) async fn run(
    uri: AMQPUri,
    waiting: mpsc::Receiver<PendingReply>,
    shared: Shared,
    stop: CancellationToken,
) {
    let session = PublisherSession {
        uri,
        waiting,
        shared,
        stop: stop.clone(),
    };
    let Ok(()) = supervise("publisher", session, &stop).await;
}

struct PublisherSession {
    uri: AMQPUri,
    waiting: mpsc::Receiver<PendingReply>,
    shared: Shared,
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the connection can't be opened: {0}")]
    Open(BrokerError),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("a channel was closed")]
    Closed,
    #[error("replies are lost; the ledger has the outcomes: {0}")]
    Replies(BrokerError),
}

impl Session for PublisherSession {
    type Error = SessionError;
    type Fatal = Infallible;

    async fn run(&mut self) -> Next<SessionError, Infallible> {
        let (connection, channels) = match open(&self.uri).await {
            Ok(opened) => opened,
            Err(error) => return Next::Retry(SessionError::Open(error)),
        };
        self.shared.connected.send_replace(true);
        self.shared.set(Some(&channels));
        let closed = watch_channels(&connection, &channels, &self.shared);
        let replies = &channels.replies;
        let result = write(&connection, replies, &mut self.waiting, closed, &self.stop).await;
        self.shared.connected.send_replace(false);
        self.shared.set(None);
        broker::close(&connection).await;
        match result {
            Ok(()) => Next::Stop,
            Err(error) => Next::Retry(error),
        }
    }
}

/// Opens a connection with its channels.
async fn open(uri: &AMQPUri) -> Result<(Connection, Channels), BrokerError> {
    let connection = broker::connect(uri, "connector-details-worker replies").await?;
    let channels = Channels {
        replies: within_deadline(connection.create_channel()).await?,
        parking: confirm_channel(&connection).await?,
        events: confirm_channel(&connection).await?,
    };
    Ok((connection, channels))
}

/// Ends when one of the channels is closed: the broker closes a channel if an exchange is missing. The caller
/// opens all channels again then. Until then it reads the depth of `.parked`, and takes the shared channels back
/// while the broker has an alarm. lapin keeps what is published meanwhile in memory, without a limit.
async fn watch_channels(connection: &Connection, channels: &Channels, shared: &Shared) {
    let mut checks: Option<Channel> = None;
    let mut was_blocked = false;
    let mut previous = 0;
    loop {
        // The pause is first, because the consumer may have to declare the queue.
        sleep(CHECK_PERIOD).await;
        let all = [&channels.replies, &channels.parking, &channels.events];
        if !all.iter().all(|channel| channel.status().connected()) {
            return;
        }
        let is_blocked = connection.status().blocked();
        if is_blocked != was_blocked {
            shared.set((!is_blocked).then_some(channels));
            was_blocked = is_blocked;
        }
        let open = checks.take().filter(|channel| channel.status().connected());
        let channel = match open {
            Some(channel) => Ok(channel),
            // The broker closes the channel if the queue is missing.
            None => within_deadline(connection.create_channel()).await,
        };
        if let Ok(channel) = channel {
            let depth = queue_depth::depth(&channel, topology::PARKED);
            // A broker with an alarm does not respond; the next check is the retry.
            if let Ok(Ok(depth)) = timeout(broker::DEADLINE, depth).await {
                // A busy queue answers 0 if it needs more than 250 ms. So a smaller number counts only if it is
                // read twice.
                let messages = depth.messages;
                shared
                    .parked
                    .store(messages.max(previous), Ordering::Relaxed);
                previous = messages;
            }
            checks = Some(channel);
        }
    }
}

/// Writes replies until the connection is lost, or one of its channels is `closed`. After `stop` it writes the
/// replies that still wait, and ends.
async fn write(
    connection: &Connection,
    channel: &Channel,
    waiting: &mut mpsc::Receiver<PendingReply>,
    closed: impl Future<Output = ()>,
    stop: &CancellationToken,
) -> Result<(), SessionError> {
    let lost = broker::lost(connection);
    tokio::pin!(lost, closed);
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = waiting.recv_many(&mut batch, MAX_BATCHED) => count,
            () = stop.cancelled() => return Ok(()),
            reason = &mut lost => return Err(SessionError::Lost(reason)),
            () = &mut closed => return Err(SessionError::Closed),
        };
        if count == 0 {
            return Ok(());
        }
        let sent = replies::send_all(channel, batch.drain(..)).await;
        sent.map_err(SessionError::Replies)?;
    }
}
