//! Liveness at `/health/live`, readiness at `/health/ready`.
//!
//! A gateway is ready if it accepts saves. Without the database it still accepts saves, and its status
//! is `degraded`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};

use crate::app::App;

/// Longer than a check of the database may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(3);

/// Checks whether the gateway at this address is ready.
///
/// # Errors
/// The gateway is not ready, or does not answer.
pub async fn check(mut listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let client = reqwest::Client::builder().timeout(CHECK_DEADLINE).build()?;
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
