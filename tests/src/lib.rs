//! The test harness: runs the real gateway and worker as processes. Each test has its own database
//! and virtual host on shared servers.

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

/// Polls until a check returns a value. The error names the expected condition.
///
/// # Errors
/// The check returned no value within the deadline.
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
