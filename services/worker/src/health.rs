//! The endpoints `/health/live` and `/health/ready`, and the client that a container's health check runs.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use futures_util::FutureExt as _;
use metrics::gauge;
use runtime::metrics::GaugeRefresh;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Oldest, publish::Publisher, store::Store};

/// Pause between two heartbeats.
const HEARTBEAT_PAUSE: Duration = Duration::from_secs(2);
/// How long [`check`] waits for a response.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Written by hand: this one request does not justify an HTTP client in the worker.
const REQUEST: &[u8] =
    b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Checks whether the worker at this address is ready.
///
/// # Errors
/// It is not ready, or does not respond in time.
pub async fn check(mut listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let response = timeout(CHECK_TIMEOUT, async {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(REQUEST).await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        std::io::Result::Ok(response)
    })
    .await??;
    anyhow::ensure!(response.starts_with(b"HTTP/1.1 200"), "not ready");
    Ok(())
}

/// The state from which readiness and the gauges are derived.
#[derive(Debug)]
pub struct Readiness {
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

impl Readiness {
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
pub fn router(readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(readiness)
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

async fn ready(State(readiness): State<Arc<Readiness>>) -> impl IntoResponse {
    let (broker, database) = (readiness.broker_up(), readiness.database_up());
    let stopping = readiness.stop.is_cancelled();
    let ready = broker && database && !stopping;
    let state = |up: bool| if up { "up" } else { "down" };
    let body = serde_json::json!({
        "status": if stopping { "stopping" } else if ready { "ready" } else { "not ready" },
        "broker": state(broker),
        "database": state(database),
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        [("content-type", "application/json")],
        body.to_string(),
    )
}

/// Sets the gauges that are only updated when Prometheus scrapes them.
#[must_use]
pub fn refresh_gauges(readiness: Arc<Readiness>) -> GaugeRefresh {
    Arc::new(move || {
        let readiness = readiness.clone();
        async move {
            for (name, up) in [
                ("connector_details_consuming", readiness.consuming()),
                ("connector_details_broker_up", readiness.broker_up()),
                ("connector_details_database_up", readiness.database_up()),
            ] {
                gauge!(name).set(f64::from(u8::from(up)));
            }
            gauge!("connector_details_oldest_command_age_seconds").set(readiness.oldest.age());
        }
        .boxed()
    })
}
