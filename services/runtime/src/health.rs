//! The health endpoints, `/health/live` and `/health/ready`, and the client that asks them.
//!
//! Liveness says only that the process answers. It must not depend on the broker or the database: an
//! orchestrator would restart every instance while one of them is down.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long [`ask`] waits. Longer than a readiness check may wait for the database.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// One fixed request: it needs no HTTP client.
const REQUEST: &[u8] =
    b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Whether a service does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does all of it.
    Ready,
    /// It does the most important part. Counts as ready.
    Degraded,
    /// It can't work at the moment.
    NotReady,
    /// It received a stop signal.
    Stopping,
}

/// The answer of the readiness endpoint: 200 if ready or degraded, else 503.
#[derive(Debug, Clone)]
pub struct Readiness {
    status: Status,
    /// What the service depends on, and whether it is up.
    dependencies: Vec<(&'static str, bool)>,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not ready",
            Self::Stopping => "stopping",
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Self::Ready | Self::Degraded => StatusCode::OK,
            Self::NotReady | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Readiness {
    /// An answer with this status, which says of each dependency whether it is up.
    #[must_use]
    pub fn new(
        status: Status,
        dependencies: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Self {
        Self {
            status,
            dependencies: dependencies.into_iter().collect(),
        }
    }

    fn body(&self) -> String {
        let mut body = Map::new();
        body.insert("status".to_owned(), self.status.as_str().into());
        for (name, is_up) in &self.dependencies {
            let state = if *is_up { "up" } else { "down" };
            body.insert((*name).to_owned(), state.into());
        }
        Value::Object(body).to_string()
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let headers = [("content-type", "application/json")];
        (self.status.code(), headers, self.body()).into_response()
    }
}

/// The endpoints. `ready` is the handler of `/health/ready`, such as `get(ready)` with a function that
/// returns a [`Readiness`].
pub fn router<S: Clone + Send + Sync + 'static>(ready: MethodRouter<S>) -> Router<S> {
    Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", ready)
}

/// Asks the service at this address whether it is ready. An unspecified address, such
/// as `0.0.0.0:8080`, is replaced by `127.0.0.1`.
///
/// # Errors
/// The service is not ready, or doesn't answer within 3 seconds.
pub async fn ask(mut listen: SocketAddr) -> anyhow::Result<()> {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let answer = timeout(ASK_TIMEOUT, async {
        let mut stream = TcpStream::connect(listen).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    })
    .await??;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "not ready");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_the_status_and_each_dependency() {
        let readiness = Readiness::new(Status::Degraded, [("broker", true), ("database", false)]);

        let expected = r#"{"broker":"up","database":"down","status":"degraded"}"#;
        assert_eq!(readiness.body(), expected);
        assert_eq!(readiness.into_response().status(), StatusCode::OK);
    }

    #[test]
    fn a_service_that_stops_is_not_ready() {
        let readiness = Readiness::new(Status::Stopping, []);

        assert_eq!(readiness.body(), r#"{"status":"stopping"}"#);
        let code = readiness.into_response().status();
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    }
}
