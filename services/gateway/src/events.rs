//! What happens to records, as the worker's events tell it, for whoever listens here.
//!
//! One queue for the whole gateway, while anybody listens, and a few seconds longer; without listeners
//! every event would be carried here for nothing. It lives as long as its connection: what happens while
//! there is none is not told. Listeners are told that, and read again.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use proto::{
    CatalogGuid, Event,
    amqp::{envelope::REPLY_QUEUES, topology},
};
use runtime::broker::{self, BrokerError, within_deadline};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Changes that a slow listener may be behind. One more, and it is told that it missed some.
const BEHIND: usize = 1024;
/// How often the queue is bound again, if anybody still listens. An exchange that is deleted takes its
/// bindings along, comes back without them, and nobody is told.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// Both kinds of events.
const BINDINGS: [&str; 2] = [topology::SAVED, topology::DELETED];

/// Something to tell.
#[derive(Debug, Clone)]
pub enum Change {
    /// An event.
    HistoryEntry(Arc<Event>),
    /// There may have been events that nobody here was told.
    Missed,
}

/// Tells of changes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    changes: broadcast::Sender<Change>,
    /// Somebody listens now.
    wanted: Arc<Notify>,
}

impl Changes {
    /// Starts to listen, until `stop`.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(BEHIND);
        let this = Self {
            changes,
            wanted: Arc::default(),
        };
        tokio::spawn(supervise(uri, this.clone(), stop));
        this
    }

    /// The changes in a Space, from now on.
    pub fn of(&self, space: CatalogGuid) -> impl Stream<Item = Change> + use<> {
        let changes = self.changes.subscribe();
        self.wanted.notify_one();
        let next = |mut changes: broadcast::Receiver<Change>| async {
            match changes.recv().await {
                Ok(change) => Some((change, changes)),
                Err(RecvError::Lagged(_)) => Some((Change::Missed, changes)),
                Err(RecvError::Closed) => None,
            }
        };
        futures_util::stream::unfold(changes, next).filter(move |change| {
            let is_ours = match change {
                Change::HistoryEntry(event) => event.record().catalog_guid == space.as_str(),
                Change::Missed => true,
            };
            std::future::ready(is_ours)
        })
    }
}

async fn supervise(uri: AMQPUri, changes: Changes, stop: CancellationToken) {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        if changes.changes.receiver_count() == 0 {
            let _ = stop.run_until_cancelled(changes.wanted.notified()).await;
            continue;
        }
        let started = Instant::now();
        let listening = stop.run_until_cancelled(listen(&uri, &changes.changes));
        match listening.await {
            Some(Err(error)) => {
                tracing::warn!(%error, "changes are not told at the moment; trying again");
            }
            Some(Ok(())) => continue,
            None => return,
        }
        if started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        let pause = pauses.next().unwrap_or(broker::DEADLINE);
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the broker ended the consumer")]
    Ended,
}

/// Listens until nobody wants to know.
async fn listen(uri: &AMQPUri, changes: &broadcast::Sender<Change>) -> Result<(), NotTold> {
    let connection = broker::connect(uri, "connector-details-gateway changes").await?;
    let (channel, mut consumer, queue) = consumer(&connection).await?;
    // To those who listened before this connection, if any.
    let _ = changes.send(Change::Missed);
    let mut again = interval_at(Instant::now() + BIND_AGAIN, BIND_AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.ok_or(NotTold::Ended)?;
                tell(&delivery.map_err(BrokerError::from)?, changes);
            }
            _ = again.tick() => {
                // Not asked more often: whoever subscribes and leaves, again and again, would make a
                // connection to the broker each time.
                if changes.receiver_count() == 0 {
                    break;
                }
                bind(&channel, &queue).await?;
            }
        }
    }
    broker::close(&connection).await;
    Ok(())
}

fn tell(delivery: &Delivery, changes: &broadcast::Sender<Change>) {
    let kind = delivery.properties.kind().as_ref();
    let kind = kind
        .map(lapin::types::ShortString::as_str)
        .unwrap_or_default();
    match Event::decode(kind, &delivery.data) {
        Ok(Some(event)) => {
            let _ = changes.send(Change::HistoryEntry(Arc::new(event)));
        }
        // Of another version: not for us.
        Ok(None) => {}
        Err(_) => tracing::warn!("an event could not be read; it is not told"),
    }
}

async fn consumer(
    connection: &lapin::Connection,
) -> Result<(Channel, Consumer, String), BrokerError> {
    let channel = within_deadline(connection.create_channel()).await?;
    let queue = format!("{REPLY_QUEUES}changes.{}", Uuid::new_v4().simple());
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let name = queue.as_str();
    within_deadline(channel.queue_declare(name.into(), exclusive, FieldTable::default())).await?;
    bind(&channel, name).await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let consumer = channel.basic_consume(name.into(), "".into(), options, FieldTable::default());
    let consumer = within_deadline(consumer).await?;
    Ok((channel, consumer, queue))
}

/// Binds the queue, or finds it bound.
async fn bind(channel: &Channel, queue: &str) -> Result<(), BrokerError> {
    for key in BINDINGS {
        within_deadline(channel.queue_bind(
            queue.into(),
            topology::EVENTS.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
        .await?;
    }
    Ok(())
}
