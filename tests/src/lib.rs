//! What the end to end tests stand on: the real gateway and worker as processes of their own,
//! with a database and a virtual host for each test, on real servers that are shared.

pub mod api;
pub mod bystander;
pub mod external_clients;
pub mod fault_stack;
pub mod golden;
pub mod keys;
pub mod load;
pub mod processes;
pub mod proxy;
pub mod publisher;
pub mod raw_amqp;
pub mod raw_http;
pub mod report;
pub mod servers;
pub mod socket;
pub mod sse;
pub mod stack;
pub mod websocket;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Polls until a check gives something, or says what it was that never came.
///
/// # Errors
/// Nothing came within the deadline.
pub async fn eventually<T>(
    what: &str,
    check: impl AsyncFn() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
