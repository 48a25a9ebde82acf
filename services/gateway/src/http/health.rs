//! Liveness at `/health/live`, readiness at `/health/ready`.
//!
//! A gateway is ready if it accepts saves. Without the database it still accepts saves, and its status
//! is `degraded`.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use runtime::health::{self, Readiness, Status};

use crate::app::App;

/// The endpoints.
pub(crate) fn router() -> Router<Arc<App>> {
    health::router(get(ready))
}

async fn ready(State(app): State<Arc<App>>) -> Readiness {
    let broker = app.commands.is_open();
    let keys = app.auth.keys.is_ready();
    let database = app.records.is_up().await;
    let status = if app.stop.is_cancelled() {
        Status::Stopping
    } else if !broker || !keys {
        Status::NotReady
    } else if database {
        Status::Ready
    } else {
        Status::Degraded
    };
    Readiness::new(
        status,
        [("broker", broker), ("database", database), ("keys", keys)],
    )
}
