//! Everything that the worker publishes: replies, parked commands and events.
//!
//! It has a connection of its own. A broker that raises an alarm stops reading from connections
//! that publish, and acknowledgements on such a connection would be stuck behind the replies.

mod connection;
pub mod events;
pub mod parking;
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
}

impl Publisher {
    /// Starts the connection's supervisor. It ends after `stop`, when the replies that were
    /// handed over before have been written.
    #[must_use]
    pub fn start(uri: AMQPUri, stop: CancellationToken) -> (Self, tokio::task::JoinHandle<()>) {
        let (replies, waiting) = replies::channel();
        let (parking_channel, parking) = parking::channel();
        let (events_channel, events) = watch::channel(None);
        let channels = connection::Channels {
            parking: parking_channel,
            events: events_channel,
            parked: parking.count(),
        };
        let supervisor = tokio::spawn(connection::supervise(uri, waiting, channels, stop));
        let publisher = Self {
            replies,
            parking,
            events,
        };
        (publisher, supervisor)
    }

    /// Hands over a reply, if the publisher of the command wants one. Never waits.
    pub fn reply(&self, envelope: &Envelope, outcome: Outcome) {
        self.replies.send(envelope, outcome);
    }

    /// Parks a message, however long it takes. Given up by dropping it.
    pub(crate) async fn park(&self, copy: ParkedCopy) {
        self.parking.park(copy).await;
    }

    /// The channel for events, with confirms, while there is one.
    #[must_use]
    pub fn events(&self) -> Option<Channel> {
        self.events.borrow().clone()
    }

    /// Whether there is a connection to publish on.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.parking.is_open()
    }
}
