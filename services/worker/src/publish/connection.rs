//! The connection that publishes, with its three channels: for replies, parked commands and events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use lapin::{Channel, Connection, uri::AMQPUri};
use proto::amqp::topology;
use runtime::{
    broker::{self, BrokerError, publish::confirm_channel, within_deadline},
    queue_depth,
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
pub(super) async fn supervise(
    uri: AMQPUri,
    mut waiting: mpsc::Receiver<PendingReply>,
    shared: Shared,
    stop: CancellationToken,
) {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        match open(&uri).await {
            Ok((connection, channels)) => {
                let started = Instant::now();
                shared.connected.send_replace(true);
                shared.set(Some(&channels));
                let closed = watch_channels(&connection, &channels, &shared);
                write(&connection, &channels.replies, &mut waiting, closed, &stop).await;
                shared.connected.send_replace(false);
                shared.set(None);
                broker::close(&connection).await;
                if started.elapsed() > broker::GOOD_SESSION {
                    pauses = broker::backoff();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the connection for replies can't be opened; trying again");
            }
        }
        // The pauses have no end; the default is never used.
        let pause = sleep(pauses.next().unwrap_or(broker::DEADLINE));
        let _ = stop.run_until_cancelled(pause).await;
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
) {
    let lost = broker::lost(connection);
    tokio::pin!(lost, closed);
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = waiting.recv_many(&mut batch, MAX_BATCHED) => count,
            () = stop.cancelled() => return,
            reason = &mut lost => {
                tracing::warn!(reason, "the connection for replies was lost");
                return;
            }
            () = &mut closed => {
                tracing::warn!("a channel was closed; opening all of them again");
                return;
            }
        };
        if count == 0 {
            return;
        }
        if let Err(error) = replies::send_all(channel, batch.drain(..)).await {
            tracing::warn!(%error, "replies are lost; the ledger has the outcomes");
            return;
        }
    }
}
