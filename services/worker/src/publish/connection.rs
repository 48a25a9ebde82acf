//! The connection that publishes, and its channels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use lapin::{Channel, Connection, options::ConfirmSelectOptions, uri::AMQPUri};
use proto::amqp::topology;
use runtime::{
    broker::{self, BrokerError, within_deadline},
    queue_depth,
};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::replies::{self, MAX_PACKED, PendingReply};

/// How often the channels are checked, and the depth of `.parked` is read.
const CHECK_PERIOD: Duration = Duration::from_secs(1);

/// The channels with confirms, for as long as their connection lives.
pub(super) struct Channels {
    pub parking: watch::Sender<Option<Channel>>,
    pub events: watch::Sender<Option<Channel>>,
    pub parked: Arc<AtomicU32>,
}

/// Keeps a connection open until `stop`, and writes replies.
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

/// Opens a connection, and its channels for replies, for parked messages and for events.
async fn open(uri: &AMQPUri) -> Result<(Connection, [Channel; 3]), BrokerError> {
    let connection = broker::connect(uri, "connector-details-worker replies").await?;
    let replies = within_deadline(connection.create_channel()).await?;
    let parked = confirming(&connection).await?;
    let events = confirming(&connection).await?;
    Ok((connection, [replies, parked, events]))
}

/// Ends when a channel is closed: the broker closes one where an exchange is missing, and all of them
/// are opened anew then. Reads the depth of `.parked` meanwhile.
async fn watch_channels(connection: &Connection, all: &[Channel], parked: &AtomicU32) {
    let mut checking: Option<Channel> = None;
    loop {
        // At first: somebody else declares the queue meanwhile.
        sleep(CHECK_PERIOD).await;
        if !all.iter().all(|channel| channel.status().connected()) {
            return;
        }
        let open = checking
            .take()
            .filter(|channel| channel.status().connected());
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
            checking = Some(channel);
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
    waiting: &mut mpsc::Receiver<PendingReply>,
    watching: impl Future<Output = ()>,
    stop: &CancellationToken,
) {
    let lost = broker::lost(connection);
    tokio::pin!(lost, watching);
    let mut batch = Vec::new();
    loop {
        let count = tokio::select! {
            biased;
            count = waiting.recv_many(&mut batch, MAX_PACKED) => count,
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
        if let Err(error) = replies::send_all(channel, batch.drain(..)).await {
            tracing::warn!(%error, "a reply could not be written");
            return;
        }
    }
}
