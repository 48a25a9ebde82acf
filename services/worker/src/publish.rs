//! Publishes everything that the worker sends: replies, parked commands and events.
//!
//! It uses a connection of its own. While a broker has an alarm, it reads nothing from connections that
//! publish, so acknowledgements on the same connection would wait behind the replies.

mod connection;
mod events;
pub mod parking;
pub mod relay;
mod replies;

use lapin::{Channel, uri::AMQPUri};
use proto::{Envelope, Outcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    parking::{ParkedCopy, Parking},
    replies::Replies,
};

/// Publishes for the worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    replies: Replies,
    parking: Parking,
    events: watch::Receiver<Option<Channel>>,
    connected: watch::Receiver<bool>,
}

impl Publisher {
    /// Starts the task that owns the connection. After `stop` it writes the replies that were queued before,
    /// and ends.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let (replies, waiting) = replies::channel();
        let (parking_channel, parking) = parking::channel();
        let (events_channel, events) = watch::channel(None);
        let (is_connected, connected) = watch::channel(false);
        let shared = connection::Shared {
            parking: parking_channel,
            events: events_channel,
            connected: is_connected,
            parked: parking.count(),
        };
        let task = tokio::spawn(connection::run(uri, waiting, shared, stop));
        let publisher = Self {
            replies,
            parking,
            events,
            connected,
        };
        (publisher, task)
    }

    /// Queues a reply, if the command asks for one. Never waits.
    pub fn reply(&self, envelope: &Envelope, outcome: Outcome) {
        self.replies.send(envelope, outcome);
    }

    /// Parks a message, and retries until it succeeds. Drop the future to cancel it.
    pub(crate) async fn park(&self, copy: ParkedCopy) {
        self.parking.park(copy).await;
    }

    /// The channel for events, with publisher confirms. `None` while there is no connection, or while the broker
    /// takes no messages because of an alarm.
    #[must_use]
    pub fn events(&self) -> Option<Channel> {
        self.events.borrow().clone()
    }

    /// Whether the connection is open.
    #[must_use]
    pub fn connected(&self) -> bool {
        *self.connected.borrow()
    }
}
