//! `/health/live` and `/health/ready`: the same two questions that the gateway publisher.

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

/// Between two heartbeats.
const PAUSE: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(3);
/// Short enough to need no client for it.
const QUESTION: &[u8] =
    b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Asks the worker of this address whether it is ready.
///
/// # Errors
/// It is not, or does not answer.
pub async fn ask(mut listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let answer = timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(QUESTION).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    })
    .await??;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "not ready");
    Ok(())
}

/// What the worker needs in order to work.
#[derive(Debug)]
pub struct Needs {
    /// The database, as [`watch_database`] sees it.
    pub database: watch::Receiver<bool>,
    /// The connection that publishes.
    pub publisher: Publisher,
    /// The connection that consumes. A worker that stands by is ready too.
    pub connected: watch::Receiver<bool>,
    /// A worker that was told to stop is not ready any more.
    pub stop: CancellationToken,
    /// Of what is in hand.
    pub oldest: Oldest,
}

/// The endpoints.
pub fn router(needs: Arc<Needs>) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(needs)
}

/// Writes this worker's heartbeat from time to time, and tells whether the database took it. Not
/// written by the probe itself: one with a short patience would give up every new connection, and find
/// the database away for as long as it asks; and whoever asks often would write often.
#[must_use]
pub fn watch_database(store: Store) -> watch::Receiver<bool> {
    let (sender, answered) = watch::channel(false);
    tokio::spawn(async move {
        while !sender.is_closed() {
            sender.send_replace(store.heartbeat().await.is_ok());
            tokio::time::sleep(PAUSE).await;
        }
    });
    answered
}

async fn ready(State(needs): State<Arc<Needs>>) -> impl IntoResponse {
    let broker = *needs.connected.borrow() && needs.publisher.connected();
    let database = *needs.database.borrow();
    let stopping = needs.stop.is_cancelled();
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

/// Reads the gauges that are not set as they change.
#[must_use]
pub fn refresh_gauges(needs: Arc<Needs>) -> GaugeRefresh {
    Arc::new(move || {
        let needs = needs.clone();
        async move {
            let consuming = *needs.connected.borrow();
            let broker = consuming && needs.publisher.connected();
            let database = *needs.database.borrow();
            for (name, up) in [
                ("connector_details_consuming", consuming),
                ("connector_details_broker_up", broker),
                ("connector_details_database_up", database),
            ] {
                gauge!(name).set(f64::from(u8::from(up)));
            }
            gauge!("connector_details_oldest_command_age_seconds").set(needs.oldest.age());
        }
        .boxed()
    })
}
