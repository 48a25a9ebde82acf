//! How much waits in each queue, seen through a service's own connection to the broker.

use std::time::Duration;

use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use metrics::{describe_gauge, gauge};
use tokio::{task::JoinSet, time::timeout};

use crate::broker::{BrokerError, within_deadline};

/// Between two looks. A queue is asked, and not its history: what grows and shrinks in between is
/// not seen.
const PAUSE: Duration = Duration::from_secs(5);

/// The value of the metrics' label `queue`, and the queue's name.
pub type Labelled = (&'static str, &'static str);

/// What waits in a queue, and for how many consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that are ready for delivery.
    pub messages: u32,
    /// Consumers; of a queue with a single active consumer, the standby ones, too.
    pub consumers: u32,
}

/// Asks for a queue's depth. It needs no permission.
///
/// # Errors
/// There is no such queue; the channel is closed then.
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

/// A channel that looks at the queues; dropped, it stops.
#[derive(Debug)]
pub struct Watch {
    task: JoinSet<()>,
}

/// Says what the metrics mean.
pub fn describe() {
    describe_gauge!(
        "connector_details_queue_messages",
        "Messages that are ready for delivery, by queue"
    );
    describe_gauge!(
        "connector_details_queue_consumers",
        "Consumers, by queue; one of the commands' queue is active, the others stand by"
    );
}

impl Watch {
    /// Looks at queues through a channel of its own, from time to time. One that is missing closes
    /// the channel, and ends this.
    ///
    /// # Errors
    /// The connection gives no channel.
    pub async fn start(
        connection: &Connection,
        queues: &'static [Labelled],
    ) -> Result<Self, BrokerError> {
        let channel = within_deadline(connection.create_channel()).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = look(&channel, queues).await {
                tracing::warn!(%error, "the queues are not looked at any more on this connection");
            }
        });
        Ok(Self { task })
    }

    /// Ends when the queues are not looked at any more.
    pub async fn ended(&mut self) {
        self.task.join_next().await;
    }
}

async fn look(channel: &Channel, queues: &[Labelled]) -> lapin::Result<()> {
    loop {
        for (label, queue) in queues.iter().copied() {
            // A broker under an alarm answers later.
            let Ok(depth) = timeout(PAUSE, depth(channel, queue)).await else {
                continue;
            };
            let depth = depth?;
            gauge!("connector_details_queue_messages", "queue" => label).set(depth.messages);
            gauge!("connector_details_queue_consumers", "queue" => label).set(depth.consumers);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
