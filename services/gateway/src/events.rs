//! Passes the worker's events to the subscriptions of this gateway.
//!
//! The gateway has one queue for all subscriptions. The queue exists only while there are subscribers,
//! so that the broker does not send events that no one needs. The queue is exclusive to its connection,
//! so events are lost while there is none; the subscribers then receive [`Change::Missed`] and read
//! again.

use std::{convert::Infallible, sync::Arc, time::Duration};

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
use runtime::{
    broker::{self, BrokerError, within_deadline},
    supervise::{self, Next},
};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::log_throttle::LogThrottle;

/// The number of changes that a subscriber may be behind. A slower one loses changes and receives
/// [`Change::Missed`].
const BUFFERED_CHANGES: usize = 1024;
/// How often the queue is bound again. If the exchange is deleted and declared again, its bindings are
/// gone and the broker does not report it.
const REBIND_INTERVAL: Duration = Duration::from_secs(2);
/// The routing keys of both kinds of events.
const BINDINGS: [&str; 2] = [topology::SAVED, topology::DELETED];

/// An item of a subscription.
#[derive(Debug, Clone)]
pub enum Change {
    /// A record was saved or deleted.
    Event(Arc<Event>),
    /// Events may have been lost.
    Missed,
}

/// The source of all subscriptions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Changes {
    changes: broadcast::Sender<Change>,
    /// Notified when a subscription starts.
    subscribed: Arc<Notify>,
}

impl Changes {
    /// Starts the task that receives events, which ends with `stop`.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> Self {
        let (changes, _) = broadcast::channel(BUFFERED_CHANGES);
        let this = Self {
            changes,
            subscribed: Arc::default(),
        };
        let session = EventSession {
            uri,
            changes: this.clone(),
            stop: stop.clone(),
        };
        tokio::spawn(async move {
            let Ok(()) = supervise::supervise("events", session, &stop).await;
        });
        this
    }

    /// The changes in a Space, from now on.
    pub fn in_space(&self, space: CatalogGuid) -> impl Stream<Item = Change> + use<> {
        let changes = self.changes.subscribe();
        self.subscribed.notify_one();
        let next = |mut changes: broadcast::Receiver<Change>| async {
            match changes.recv().await {
                Ok(change) => Some((change, changes)),
                Err(RecvError::Lagged(_)) => Some((Change::Missed, changes)),
                Err(RecvError::Closed) => None,
            }
        };
        futures_util::stream::unfold(changes, next).filter(move |change| {
            let is_in_space = match change {
                Change::Event(event) => event.record().catalog_guid == space.as_str(),
                Change::Missed => true,
            };
            std::future::ready(is_in_space)
        })
    }
}

/// A session that receives events while there are subscribers.
struct EventSession {
    uri: AMQPUri,
    changes: Changes,
    stop: CancellationToken,
}

impl supervise::Session for EventSession {
    type Error = ReceiveError;
    type Fatal = Infallible;

    /// Without a subscriber it opens no connection, and waits for the first one.
    async fn run(&mut self) -> Next<ReceiveError, Infallible> {
        let Changes {
            changes,
            subscribed,
        } = &self.changes;
        if changes.receiver_count() == 0 {
            let waiting = self.stop.run_until_cancelled(subscribed.notified());
            return waiting.await.map_or(Next::Stop, |()| Next::Restart);
        }
        let receiving = self.stop.run_until_cancelled(receive(&self.uri, changes));
        match receiving.await {
            Some(Ok(())) => Next::Restart,
            Some(Err(error)) => Next::Retry(error),
            None => Next::Stop,
        }
    }

    fn log_failure(&self, _: &'static str, error: &ReceiveError) {
        tracing::warn!(%error, "subscriptions receive no events; trying again");
    }
}

#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the broker ended the consumer")]
    Ended,
}

/// Receives events until there is no subscriber left.
async fn receive(uri: &AMQPUri, changes: &broadcast::Sender<Change>) -> Result<(), ReceiveError> {
    let connection = broker::connect(uri, "connector-details-gateway changes").await?;
    let (channel, mut consumer, queue) = consumer(&connection).await?;
    // Subscriptions that are older than this connection may have missed events.
    send(changes, Change::Missed);
    let mut rebind = interval_at(Instant::now() + REBIND_INTERVAL, REBIND_INTERVAL);
    rebind.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut undecodable_log = LogThrottle::default();
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                let delivery = delivery.ok_or(ReceiveError::Ended)?;
                let delivery = delivery.map_err(BrokerError::from)?;
                forward(&delivery, changes, &mut undecodable_log);
            }
            _ = rebind.tick() => {
                // Checked only here: a client that subscribes and leaves again and again must not
                // open a connection to the broker each time.
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

fn forward(
    delivery: &Delivery,
    changes: &broadcast::Sender<Change>,
    undecodable_log: &mut LogThrottle,
) {
    let kind = delivery.properties.kind().as_ref();
    // A message without a type is not an event, and neither is one with the empty type.
    let kind = kind.map_or("", lapin::types::ShortString::as_str);
    match Event::decode(kind, &delivery.data) {
        Ok(Some(event)) => send(changes, Change::Event(Arc::new(event))),
        // Another version publishes events that this version does not know.
        Ok(None) => {}
        // Anyone with write permission can publish to the exchange of events.
        Err(_) => {
            if undecodable_log.is_due() {
                tracing::warn!("ignored an event that can't be decoded");
            }
        }
    }
}

fn send(changes: &broadcast::Sender<Change>, change: Change) {
    // This fails only if there is no subscriber; then no one needs the change.
    let _ = changes.send(change);
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

/// Binds the queue. Has no effect if the bindings exist.
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
