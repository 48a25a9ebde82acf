//! Reads the depth of queues through a service's own connection to the broker.

use std::time::Duration;

use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use metrics::{describe_gauge, gauge};
use tokio::{task::JoinSet, time::timeout};

use crate::broker::{BrokerError, within_deadline};

/// How often the depths are read. A peak between two readings is not seen.
const PERIOD: Duration = Duration::from_secs(5);

/// The value of the metric label `queue`, and the name of the queue.
pub type Labelled = (&'static str, &'static str);

/// How many messages and consumers a queue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are ready for delivery. Unacknowledged ones are not counted.
    pub messages: u32,
    /// Consumers. In a queue with a single active consumer, those on standby are counted, too.
    pub consumers: u32,
}

/// Reads the depth of a queue. The broker requires no permission for it.
///
/// # Errors
/// The queue does not exist. The broker then closes the channel.
pub async fn depth(channel: &Channel, queue: &'static str) -> lapin::Result<Depth> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await?;
    Ok(Depth {
        messages: queue.message_count(),
        consumers: queue.consumer_count(),
    })
}

/// A task that reads the depths of queues into metrics. Dropping it ends the task.
#[derive(Debug)]
pub struct Watch {
    task: JoinSet<()>,
}

/// Registers the help texts of the metrics.
pub fn describe() {
    describe_gauge!(
        "connector_details_queue_messages",
        "Messages that are ready for delivery, by queue"
    );
    describe_gauge!(
        "connector_details_queue_consumers",
        "Consumers, by queue; in the queue of commands, one is active and the others are on standby"
    );
}

impl Watch {
    /// Starts to read depths every five seconds, through a channel of its own. A queue that does not
    /// exist closes the channel, and ends the task.
    ///
    /// # Errors
    /// The connection can't open a channel.
    pub async fn start(
        connection: &Connection,
        queues: &'static [Labelled],
    ) -> Result<Self, BrokerError> {
        let channel = within_deadline(connection.create_channel()).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = read_depths(&channel, queues).await {
                tracing::warn!(%error, "the depths of the queues are not read any more on this connection");
            }
        });
        Ok(Self { task })
    }

    /// Waits until the task has ended.
    pub async fn ended(&mut self) {
        self.task.join_next().await;
    }
}

async fn read_depths(channel: &Channel, queues: &[Labelled]) -> lapin::Result<()> {
    loop {
        for (label, queue) in queues.iter().copied() {
            // A broker with a resource alarm may not answer; try again in the next round.
            let Ok(depth) = timeout(PERIOD, depth(channel, queue)).await else {
                continue;
            };
            let depth = depth?;
            gauge!("connector_details_queue_messages", "queue" => label).set(depth.messages);
            gauge!("connector_details_queue_consumers", "queue" => label).set(depth.consumers);
        }
        tokio::time::sleep(PERIOD).await;
    }
}
