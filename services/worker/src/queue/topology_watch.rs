//! Declares the exchanges and queues again and again during a session, and reads the depth of each queue.

use std::{convert::Infallible, time::Duration};

use lapin::{Channel, Connection};
use proto::amqp::topology::{self, TopologyError};
use runtime::{
    broker::{self, within_deadline},
    queue_depth::{self, Labelled},
};
use tokio::time::{sleep, timeout};

/// Pause between two declarations. A deleted exchange or queue exists again after this time.
const DECLARE_PAUSE: Duration = Duration::from_secs(2);
/// The queues whose depth is a metric, with their labels.
const QUEUES: &[Labelled] = &[
    ("commands", topology::QUEUE),
    ("dead", topology::DEAD),
    ("parked", topology::PARKED),
    ("unreadable", topology::UNREADABLE),
];

/// Runs until it is dropped.
pub(super) async fn run(connection: &Connection) -> Infallible {
    let (never, _) = tokio::join!(keep_topology(connection), watch_queues(connection));
    never
}

/// The broker notifies a consumer if its queue is deleted, but not if an exchange or another queue is. So all
/// of them are declared again periodically.
async fn keep_topology(connection: &Connection) -> Infallible {
    loop {
        if let Ok(channel) = within_deadline(connection.create_channel()).await
            && let Err(error) = declare_repeatedly(&channel).await
        {
            tracing::warn!(%error, "an exchange or a queue can't be declared");
        }
        sleep(DECLARE_PAUSE).await;
    }
}

/// Ends with the first object that can't be declared. The broker has closed the channel then.
async fn declare_repeatedly(channel: &Channel) -> Result<Infallible, TopologyError> {
    loop {
        sleep(DECLARE_PAUSE).await;
        // After a timeout, the next declaration is the retry.
        if let Ok(declared) = timeout(broker::DEADLINE, topology::declare(channel)).await {
            declared?;
        }
    }
}

async fn watch_queues(connection: &Connection) -> Infallible {
    loop {
        if let Ok(mut watch) = queue_depth::Watch::start(connection, QUEUES).await {
            // The watch ends if a queue is missing. That queue may be declared again.
            watch.ended().await;
        }
        sleep(DECLARE_PAUSE).await;
    }
}
