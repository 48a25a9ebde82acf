//! Beside a session: declares exchanges and queues again, and reads the depth of each queue.

use std::{convert::Infallible, time::Duration};

use lapin::{Channel, Connection};
use proto::amqp::topology::{self, TopologyError};
use runtime::{
    broker::{self, within_deadline},
    queue_depth::{self, Labelled},
};
use tokio::time::{sleep, timeout};

/// How often everything is declared again, so that an exchange or queue that somebody deleted comes back.
const DECLARE_AGAIN: Duration = Duration::from_secs(2);
/// The queues whose depth is a metric, with their labels.
const QUEUES: &[Labelled] = &[
    ("commands", topology::QUEUE),
    ("dead", topology::DEAD),
    ("parked", topology::PARKED),
    ("unreadable", topology::UNREADABLE),
];

/// Runs for as long as it is polled.
pub(super) async fn run(connection: &Connection) -> Infallible {
    let (never, _) = tokio::join!(keep_topology(connection), watch_queues(connection));
    never
}

/// The broker tells a consumer that its queue is gone, and nobody that an exchange or another queue is.
async fn keep_topology(connection: &Connection) -> Infallible {
    loop {
        if let Ok(channel) = within_deadline(connection.create_channel()).await
            && let Err(error) = declare_again(&channel).await
        {
            tracing::warn!(%error, "an exchange or a queue can't be declared again");
        }
        sleep(DECLARE_AGAIN).await;
    }
}

/// Ends with the first object that can't be declared; the channel is closed then.
async fn declare_again(channel: &Channel) -> Result<Infallible, TopologyError> {
    loop {
        sleep(DECLARE_AGAIN).await;
        // A broker that is slow does it later.
        if let Ok(declared) = timeout(broker::DEADLINE, topology::declare(channel)).await {
            declared?;
        }
    }
}

async fn watch_queues(connection: &Connection) -> Infallible {
    loop {
        if let Ok(mut watch) = queue_depth::Watch::start(connection, QUEUES).await {
            // It ends with a queue that is missing; that queue may come back.
            watch.ended().await;
        }
        sleep(DECLARE_AGAIN).await;
    }
}
