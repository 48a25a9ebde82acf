//! Fault tests: the guarantees hold while servers and services are killed, frozen or disconnected.
//! Each test proves that its fault had an effect.
//!
//! Each test has its own stack, and the tests run one after the other. Long tests are ignored by
//! default; `cargo dev faults` runs all of them and prints a table.

#![expect(
    clippy::print_stderr,
    reason = "the figures of each fault are worth reading"
)]

mod alarms;
mod broker;
mod clients;
mod database;
mod everything;
mod gateways;
mod network;
mod workers;

use std::time::Duration;

use proto::MASK;
use serde_json::Value;
use tests::api::sample_with;
use tokio::time::sleep;

/// Enough clients for large batches, and few enough for a machine with two processors.
const CLIENTS: usize = 40;

async fn seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

/// The body of a command of a service that masks the secret itself.
fn command(process_id: &str, client_id: &str) -> Value {
    let mut input = sample_with("processId", process_id);
    input["clientId"] = client_id.into();
    input["clientSecret"] = MASK.into();
    input
}
