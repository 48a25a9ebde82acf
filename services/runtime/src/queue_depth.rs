//! Reads the depth of queues through a service's own connection to the broker.

use std::{convert::Infallible, time::Duration};

use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use metrics::{describe_gauge, gauge};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

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

/// The depth of an empty queue that nobody consumes.
const EMPTY: Depth = Depth {
    messages: 0,
    consumers: 0,
};

/// Reads the depth of a queue. The broker requires no permission for it.
///
/// If the process of a quorum queue needs more than 250 ms to answer, as under load, RabbitMQ returns 0
/// messages and 0 consumers instead of an error. A single reading of both as 0 can't be told from an
/// empty queue.
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
    /// exist closes the channel, and ends the task. [`watch`] starts it again.
    ///
    /// A fall to 0 messages and 0 consumers counts only when it is read twice in a row; [`depth`] says
    /// why.
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
                tracing::warn!(%error, "the depth of a queue can't be read; trying again");
            }
        });
        Ok(Self { task })
    }

    /// Waits until the task has ended.
    pub async fn ended(&mut self) {
        self.task.join_next().await;
    }
}

/// Reads depths every five seconds until it is dropped, as [`Watch`] does. A queue that does not exist may be
/// declared again, so the next attempt follows after the same time.
pub async fn watch(connection: &Connection, queues: &'static [Labelled]) -> Infallible {
    loop {
        match Watch::start(connection, queues).await {
            Ok(mut watch) => watch.ended().await,
            Err(error) => {
                tracing::warn!(%error, "the depths of the queues can't be read; trying again");
            }
        }
        sleep(PERIOD).await;
    }
}

async fn read_depths(channel: &Channel, queues: &[Labelled]) -> lapin::Result<()> {
    let mut all_readings = vec![Readings::default(); queues.len()];
    loop {
        for ((label, queue), readings) in queues.iter().copied().zip(&mut all_readings) {
            // A broker with a resource alarm may not answer; try again in the next round.
            let Ok(depth) = timeout(PERIOD, depth(channel, queue)).await else {
                continue;
            };
            let Some(depth) = readings.accept(depth?) else {
                continue;
            };
            gauge!("connector_details_queue_messages", "queue" => label).set(depth.messages);
            gauge!("connector_details_queue_consumers", "queue" => label).set(depth.consumers);
        }
        sleep(PERIOD).await;
    }
}

/// The readings of one queue. One of 0 messages and 0 consumers may be false.
#[derive(Debug, Clone, Copy, Default)]
struct Readings {
    last: Option<Depth>,
}

impl Readings {
    /// The reading, if it counts. A fall to 0 messages and 0 consumers does not count before the next reading
    /// confirms it.
    fn accept(&mut self, reading: Depth) -> Option<Depth> {
        let is_fall = reading == EMPTY && self.last.is_some_and(|last| last != EMPTY);
        self.last = Some(reading);
        (!is_fall).then_some(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Depth = Depth {
        messages: 7,
        consumers: 1,
    };

    #[test]
    fn a_queue_counts_as_empty_when_that_was_read_twice_in_a_row() {
        let mut readings = Readings::default();
        let mut accepted = |reading| readings.accept(reading);

        assert_eq!(accepted(FULL), Some(FULL));
        assert_eq!(accepted(EMPTY), None);
        assert_eq!(accepted(FULL), Some(FULL), "the empty one was false");
        assert_eq!(accepted(EMPTY), None);
        assert_eq!(accepted(EMPTY), Some(EMPTY));
        assert_eq!(accepted(EMPTY), Some(EMPTY));
    }

    #[test]
    fn a_queue_with_messages_or_consumers_is_never_doubted() {
        let idle = Depth {
            messages: 0,
            consumers: 1,
        };
        let mut readings = Readings::default();

        assert_eq!(readings.accept(EMPTY), Some(EMPTY), "nothing fell to it");
        assert_eq!(readings.accept(FULL), Some(FULL));
        assert_eq!(readings.accept(idle), Some(idle));
    }
}
