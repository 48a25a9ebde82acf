//! How much waits in each queue, seen through a service's own connection to the broker.

use std::time::Duration;

use lapin::{Channel, Connection};
use metrics::{describe_gauge, gauge};
use proto::{
    amqp::topology::{self, TopologyError},
    broker::{BrokerError, within_deadline},
};
use tokio::{task::JoinSet, time::timeout};

/// Between two looks. A queue is asked, and not its history: what grows and shrinks in between is
/// not seen.
const PAUSE: Duration = Duration::from_secs(5);

/// A queue, and what its label says.
type Labelled = (&'static str, &'static str);

/// The queue of commands. Whoever publishes to it can't do without it.
pub const COMMANDS: &[Labelled] = &[("commands", topology::QUEUE)];
/// All queues.
pub const ALL: &[Labelled] = &[
    ("commands", topology::QUEUE),
    ("dead", topology::DEAD),
    ("parked", topology::PARKED),
    ("unreadable", topology::UNREADABLE),
];

/// A channel that looks at the queues; dropped, it stops.
#[derive(Debug)]
pub struct Watch {
    task: JoinSet<()>,
}

/// Says what the metrics mean.
pub fn describe() {
    describe_gauge!(
        "connector_details_queue_messages",
        "Messages that nobody has in hand, by queue: commands, dead, parked, unreadable"
    );
    describe_gauge!(
        "connector_details_queue_consumers",
        "Consumers, by queue; of the commands' queue one is active and the others stand by"
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

async fn look(channel: &Channel, queues: &[Labelled]) -> Result<(), TopologyError> {
    loop {
        for (label, queue) in queues.iter().copied() {
            // A broker under an alarm answers later.
            let Ok(depth) = timeout(PAUSE, topology::depth(channel, queue)).await else {
                continue;
            };
            let depth = depth?;
            gauge!("connector_details_queue_messages", "queue" => label).set(depth.messages);
            gauge!("connector_details_queue_consumers", "queue" => label).set(depth.consumers);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
