//! How a session ends.

use proto::amqp::topology::TopologyError;
use runtime::broker::BrokerError;
use tokio::task::JoinError;

use crate::process::Outage;

/// The error that ended a session.
#[derive(Debug, thiserror::Error)]
pub(in crate::queue) enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Outage(#[from] Outage),
    #[error("parking a message panicked")]
    Parking(#[from] JoinError),
    #[error("the broker cancelled the consumer of commands")]
    Ended,
}

/// How a session ended without an error.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::queue) enum SessionEnd {
    /// The worker has to stop.
    Stopped,
    /// Safe mode is over, and the next session may use the full prefetch. The prefetch of a consumer can't be
    /// changed, and a second consumer on this connection would receive later commands before earlier ones.
    Promoted,
    /// In safe mode, a command went back to the broker, so that others are delivered.
    Returned {
        /// Whether the next session may use the full prefetch.
        full_prefetch: bool,
    },
}
