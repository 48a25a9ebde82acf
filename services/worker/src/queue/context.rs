//! What a session works with.

use lapin::uri::AMQPUri;
use runtime::traces::Traces;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Oldest, publish::Publisher, publisher_acl::PublisherAcl, store::Store};

/// What the consumer works with.
#[derive(Debug)]
pub struct Context {
    /// The broker.
    pub uri: AMQPUri,
    /// The database.
    pub store: Store,
    /// Which publishers may write to which Spaces.
    pub publishers: PublisherAcl,
    /// Publishes replies and parked commands.
    pub publisher: Publisher,
    /// Cancelled when the worker has to stop.
    pub stop: CancellationToken,
    /// Whether the worker consumes, or stands by.
    pub connected: watch::Sender<bool>,
    /// The oldest command in hand.
    pub oldest: Oldest,
    /// Where spans go.
    pub traces: Traces,
}
