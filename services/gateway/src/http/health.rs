//! `/health/live` and `/health/ready`.
//!
//! Ready means: saves are taken. Without Postgres the gateway is degraded and still takes them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};

use crate::app::App;

/// Longer than the database is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the gateway of this address whether it is ready.
///
/// # Errors
/// It is not, or does not answer.
pub async fn ask(mut listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let answer = client.get(format!("http://{listen}/health/ready")).send();
    answer
        .await
        .and_then(reqwest::Response::error_for_status)
        .map(drop)
        .context("not ready")
}

/// The endpoints.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
}

async fn ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let broker = app.commands.is_open();
    let keys = app.auth.keys.is_ready();
    let database = app.records.is_up().await;
    let ready = broker && keys && !app.stop.is_cancelled();
    let status = match (ready, database) {
        (true, true) => "ready",
        (true, false) => "degraded",
        (false, _) if app.stop.is_cancelled() => "stopping",
        (false, _) => "not ready",
    };
    let state = |up: bool| if up { "up" } else { "down" };
    let body = serde_json::json!({
        "status": status,
        "broker": state(broker),
        "database": state(database),
        "keys": state(keys),
    });
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        [("content-type", "application/json")],
        body.to_string(),
    )
}
