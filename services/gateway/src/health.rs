//! `/health/live` and `/health/ready`.
//!
//! Ready means: saves are taken. Without Postgres the gateway is degraded and still takes them.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};

use crate::http::App;

/// The endpoints.
pub(crate) fn router() -> Router<App> {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
}

async fn ready(State(app): State<App>) -> impl IntoResponse {
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
