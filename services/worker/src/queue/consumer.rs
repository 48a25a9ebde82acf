//! Takes commands from the queue, through as many connections as it takes.
//!
//! One session owns connection, channel and consumer, and drops all of them at the first error. The
//! connection is closed first: after a cancelled consumer or a closed channel (lapin does both when they
//! are dropped) the next worker would overtake the deliveries in hand. After a closed connection it gets
//! them first, in their old order. A worker that takes fewer than were given back, and gives one back
//! itself, gets that one after the others.

use std::time::{Duration, Instant};

use proto::amqp::topology::TopologyError;
use runtime::broker;
use tokio::time::sleep;

use super::{
    context::Context,
    session::{self, SAFE_PREFETCH, SessionEnd, SessionError},
};
use crate::{
    change::Change,
    metrics,
    process::Outage,
    store::{Store, StoreError},
};

/// Six batches of 200: one in the database, one to go on with, the others on their way. More would be more
/// to be delivered again, and processed one by one, when a worker dies. A quorum queue allows at most 2,000.
const PREFETCH: u16 = 1200;
/// How long to wait after a session that was open and broke. The command that broke it has to be
/// delivered 21 times before the broker gives it up, and all others wait for that.
const SAFE_PAUSE: Duration = Duration::from_millis(100);
/// How often to come back that soon, before the pauses grow.
const SAFE_RETRIES: u32 = 50;

/// Consumes until told to stop.
///
/// # Errors
/// An exchange or a queue exists with other arguments, which no retry will change.
pub async fn run(context: &Context) -> Result<(), TopologyError> {
    let mut pauses = broker::backoff();
    let mut prefetch = SAFE_PREFETCH;
    let mut retries = SAFE_RETRIES;
    while !context.stop.is_cancelled() {
        metrics::safe_mode(prefetch == SAFE_PREFETCH);
        let started = Instant::now();
        let result = session::run(context, prefetch).await;
        if matches!(result, Ok(SessionEnd::Promoted)) {
            (prefetch, retries) = (PREFETCH, SAFE_RETRIES);
            continue;
        }
        let was_open = context.connected.send_replace(false);
        match result {
            Ok(_) => break,
            Err(SessionError::Topology(error)) if error.is_mismatch() => return Err(error),
            Err(SessionError::Outage(Outage { source, sample })) => {
                let error = &source as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "commands go back to the broker until the database is back"
                );
                // Safe mode follows: if the database is not back after all, one command loses a delivery
                // for it.
                wait_for_database(context, &sample).await;
            }
            Err(error) => tracing::warn!(%error, "the consumer stopped; starting another"),
        }
        metrics::broken_session();
        prefetch = SAFE_PREFETCH;
        if started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        if was_open && retries > 0 {
            retries -= 1;
            pause(context, Some(SAFE_PAUSE)).await;
        } else {
            pause(context, pauses.next()).await;
        }
    }
    Ok(())
}

/// Waits until the database takes writes, and those that it could not take before.
async fn wait_for_database(context: &Context, sample: &[Change]) {
    for next in broker::backoff() {
        if context.stop.is_cancelled() {
            return;
        }
        match can_write(&context.store, sample).await {
            Ok(()) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the database still takes no commands");
            }
        }
        pause(context, Some(next)).await;
    }
}

async fn can_write(store: &Store, sample: &[Change]) -> Result<(), StoreError> {
    store.heartbeat().await?;
    store.rehearse(sample).await
}

async fn pause(context: &Context, pause: Option<Duration>) {
    let pause = sleep(pause.unwrap_or(broker::DEADLINE));
    let _ = context.stop.run_until_cancelled(pause).await;
}
