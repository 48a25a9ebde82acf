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
use crate::pause::pause;

/// How often to check whether the channels are open, and to read the depth of `.parked`.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// Where the supervisor publishes its state: the channels with publisher confirms while the connection is
/// open, and the number of parked messages.
pub(super) struct Channels {
    pub parking: watch::Sender<Option<Channel>>,
    pub events: watch::Sender<Option<Channel>>,
    pub parked: Arc<AtomicU32>,
}

/// Keeps a connection open and writes replies, until `stop`.
pub(super) async fn supervise(
    uri: AMQPUri,
    mut waiting: mpsc::Receiver<PendingReply>,
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
                let closed = watch_channels(&connection, &all, &channels.parked);
                write(&connection, replies, &mut waiting, closed, &stop).await;
                channels.parking.send_replace(None);
                channels.events.send_replace(None);
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
        pause(&stop, pauses.next().unwrap_or(broker::DEADLINE)).await;
    }
}

/// Opens a connection with its channels for replies, for parked messages and for events.
async fn open(uri: &AMQPUri) -> Result<(Connection, [Channel; 3]), BrokerError> {
    let connection = broker::connect(uri, "connector-details-worker replies").await?;
    let replies = within_deadline(connection.create_channel()).await?;
    let parked = confirm_channel(&connection).await?;
    let events = confirm_channel(&connection).await?;
    Ok((connection, [replies, parked, events]))
}

/// Ends when one of the channels is closed, and reads the depth of `.parked` until then. The broker closes a
/// channel if an exchange is missing. The caller opens all channels again then.
async fn watch_channels(connection: &Connection, all: &[Channel], parked: &AtomicU32) {
    let mut checks: Option<Channel> = None;
    loop {
        // The pause is first, because the consumer may have to declare the queue.
        sleep(CHECK_PERIOD).await;
        if !all.iter().all(|channel| channel.status().connected()) {
            return;
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
                parked.store(depth.messages, Ordering::Relaxed);
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
