//! The resources that all sessions of a worker share.

use lapin::uri::AMQPUri;
use runtime::traces::Traces;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Oldest, publish::Publisher, publisher_acl::PublisherAcl, store::Store};

/// The resources that all sessions of a worker share.
#[derive(Debug)]
pub struct Context {
    /// The broker.
    pub uri: AMQPUri,
    /// The database.
    pub store: Store,
    /// Which publishers may write to which Spaces.
    pub publishers: PublisherAcl,
    /// For replies and parked commands.
    pub publisher: Publisher,
    /// Cancelled when the worker has to stop.
    pub stop: CancellationToken,
    /// Whether the worker consumes, as the active worker or as a standby.
    pub connected: watch::Sender<bool>,
    /// The oldest command that is being processed.
    pub oldest: Oldest,
    /// The exporter of spans.
    pub traces: Traces,
}
