//! The promises while things die: what fault happened, the proof that it did, and what those who
//! were saving meanwhile were told.
//!
//! Each test has a stack of its own, and they run one after the other. The long ones are ignored
//! by default; `cargo dev faults` runs all of them and prints the table.

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

/// Enough to keep batches large, few enough for a machine with two processors.
const CLIENTS: usize = 40;

async fn seconds(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

/// A command's body as a service would publish it that masks the secret itself.
fn command(process_id: &str, client_id: &str) -> Value {
    let mut input = sample_with("processId", process_id);
    input["clientId"] = client_id.into();
    input["clientSecret"] = MASK.into();
    input
}
