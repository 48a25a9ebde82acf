//! What `/health/ready` and the gauges show of this worker.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use futures_util::FutureExt as _;
use metrics::gauge;
use runtime::{
    health::{Readiness, Status},
    metrics::GaugeRefresh,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Oldest, publish::Publisher, store::Store};

/// Pause between two heartbeats.
const HEARTBEAT_PAUSE: Duration = Duration::from_secs(2);

/// The state from which readiness and the gauges are derived.
#[derive(Debug)]
pub struct Health {
    /// Whether the database accepts writes: see [`watch_database`].
    pub database: watch::Receiver<bool>,
    /// Owns the connection that publishes.
    pub publisher: Publisher,
    /// Whether the connection that consumes is open. A standby worker is ready, too.
    pub connected: watch::Receiver<bool>,
    /// Cancelled when the worker has to stop. It is not ready any more then.
    pub stop: CancellationToken,
    /// The oldest command that is being processed.
    pub oldest: Oldest,
}

impl Health {
    fn consuming(&self) -> bool {
        *self.connected.borrow()
    }

    fn broker_up(&self) -> bool {
        self.consuming() && self.publisher.connected()
    }

    fn database_up(&self) -> bool {
        *self.database.borrow()
    }
}

/// The endpoints.
pub fn router(health: Arc<Health>) -> Router {
    runtime::health::router(get(ready)).with_state(health)
}

/// Writes this worker's heartbeat periodically. The value is whether the last write succeeded.
///
/// The probe does not write the heartbeat itself. A probe with a short timeout would cancel each attempt to
/// connect, and report the database as down for as long as it runs. Frequent probes would also write
/// frequently.
#[must_use]
pub fn watch_database(store: Store) -> watch::Receiver<bool> {
    let (sender, is_up) = watch::channel(false);
    tokio::spawn(async move {
        while !sender.is_closed() {
            sender.send_replace(store.heartbeat().await.is_ok());
            tokio::time::sleep(HEARTBEAT_PAUSE).await;
        }
    });
    is_up
}

async fn ready(State(health): State<Arc<Health>>) -> Readiness {
    let (broker, database) = (health.broker_up(), health.database_up());
    let status = if health.stop.is_cancelled() {
        Status::Stopping
    } else if broker && database {
        Status::Ready
    } else {
        Status::NotReady
    };
    Readiness::new(status, [("broker", broker), ("database", database)])
}

/// Sets the gauges that are only updated when Prometheus scrapes them.
#[must_use]
pub fn refresh_gauges(health: Arc<Health>) -> GaugeRefresh {
    Arc::new(move || {
        let health = health.clone();
        async move {
            for (name, up) in [
                ("connector_details_consuming", health.consuming()),
                ("connector_details_broker_up", health.broker_up()),
                ("connector_details_database_up", health.database_up()),
            ] {
                gauge!(name).set(f64::from(u8::from(up)));
            }
            gauge!("connector_details_oldest_command_age_seconds").set(health.oldest.age());
        }
        .boxed()
    })
}
