//! Consumes commands. Opens a new session after each session that ended with an error.
//!
//! A session owns a connection, a channel and a consumer, and drops all of them at the first error. It must
//! close the connection first. If the consumer is cancelled or the channel is closed first (lapin does both on
//! drop), the broker delivers later commands to the next worker before it returns the unacknowledged ones. If
//! the connection is closed, the next worker gets the unacknowledged commands first, in their order. One case
//! remains: a worker with a prefetch smaller than the number of returned commands, which itself returns one,
//! gets that one after the others.

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

/// Three batches of 400: one in the database, one that waits, and one in transit. After the death of a
/// worker all of these commands are delivered again and processed one by one, so more would take longer. A
/// quorum queue allows at most 2,000.
const PREFETCH: u16 = 1200;
/// Pause after a session that was open and ended with an error. If a command caused the error, the broker
/// delivers it 21 times before it dead-letters it, and all other commands wait for that.
const SAFE_PAUSE: Duration = Duration::from_millis(100);
/// How many times to use this short pause before the pauses grow.
const SAFE_RETRIES: u32 = 50;

/// Consumes until the worker has to stop.
///
/// # Errors
/// An exchange or a queue exists with other arguments, which no retry will change.
pub async fn run(context: &Context) -> Result<(), TopologyError> {
    let mut pauses = broker::backoff();
    let mut prefetch = SAFE_PREFETCH;
    let mut retries = SAFE_RETRIES;
    while !context.stop.is_cancelled() {
        metrics::safe_mode(prefetch == SAFE_PREFETCH);
        if prefetch == SAFE_PREFETCH {
            // A command that is delivered during an outage would go back behind the others when this worker
            // stops.
            wait_for_database(context, &[]).await;
        }
        let started = Instant::now();
        let result = session::run(context, prefetch).await;
        match result {
            Ok(SessionEnd::Promoted) => {
                (prefetch, retries) = (PREFETCH, SAFE_RETRIES);
                continue;
            }
            Ok(SessionEnd::Returned { full_prefetch }) => {
                prefetch = if full_prefetch {
                    PREFETCH
                } else {
                    SAFE_PREFETCH
                };
                continue;
            }
            _ => {}
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
                // The next session is in safe mode. If the database fails again, only one command loses a
                // delivery.
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
            let _ = context.stop.run_until_cancelled(sleep(SAFE_PAUSE)).await;
        } else {
            // The pauses have no end; the default is never used.
            let pause = sleep(pauses.next().unwrap_or(broker::DEADLINE));
            let _ = context.stop.run_until_cancelled(pause).await;
        }
    }
    Ok(())
}

/// Waits until the database accepts the heartbeat and the changes that it did not accept before.
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
        let _ = context.stop.run_until_cancelled(sleep(next)).await;
    }
}

async fn can_write(store: &Store, sample: &[Change]) -> Result<(), StoreError> {
    store.heartbeat().await?;
    store.undecided_redelivered().await?;
    store.rehearse(sample).await
}
