//! Applies valid commands to the store and returns their outcomes. Knows nothing of AMQP.
//!
//! A conflict or a refusal is an outcome, not an error. The only error is [`Outage`]: the database was
//! unavailable for so long that the commands have to go back to the broker.

mod plan;
mod progress;
mod statements;

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use proto::CommandError;
use runtime::broker;
use tokio_util::sync::CancellationToken;

use self::plan::SeenKeys;
pub use self::progress::{OutcomeKind, Progress};
use crate::{
    change::Change,
    failpoint, metrics,
    store::{StoreError, Writer},
};

/// How long commands are held while the database is unavailable. After that they go back to the broker. So a
/// long outage costs each command one delivery, and not all deliveries up to its delivery limit.
const OUTAGE_HOLD: Duration = Duration::from_mins(2);
/// The same for a worker that has to stop.
const SHUTDOWN_HOLD: Duration = Duration::from_secs(15);

/// How long commands are held while the database is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// For two minutes. Then they go back to the broker.
    Limited,
    /// Until the database is available. In safe mode no other command waits behind the one that is held, and
    /// giving it back would turn the order.
    UntilAvailable,
}

/// The database was unavailable for too long.
#[derive(Debug, thiserror::Error)]
#[error("the database was unavailable for too long")]
pub struct Outage {
    /// The last error.
    pub source: StoreError,
    /// Some of the changes that could not be applied. The outage is over when the database accepts them.
    pub sample: Vec<Change>,
}

/// Applies commands in their order, and retries while the database is unavailable. The results have the order
/// of the commands.
///
/// If that panics, each command is applied on its own, and only the one that panics is refused.
///
/// # Errors
/// The database was unavailable for the time of `hold`. Some commands may have been applied; applying all of them
/// again gives the same outcomes.
pub async fn process(
    writer: &mut Writer,
    changes: &[&Change],
    hold: Hold,
    stop: &CancellationToken,
) -> Result<Vec<Progress>, Outage> {
    let batch = AssertUnwindSafe(apply_with_retries(writer, changes, hold, stop));
    if let Ok(progress) = batch.catch_unwind().await {
        return progress;
    }
    tracing::error!(
        commands = changes.len(),
        "applying a batch failed unexpectedly; applying each command on its own"
    );
    let mut all = Vec::with_capacity(changes.len());
    let mut locked = SeenKeys::default();
    for change in changes {
        let progress = if locked.overlaps(change) {
            Progress::Locked
        } else {
            process_one(writer, change, hold, stop).await?
        };
        if matches!(progress, Progress::Locked) {
            locked.insert(change);
        }
        all.push(progress);
    }
    Ok(all)
}

async fn process_one(
    writer: &mut Writer,
    change: &Change,
    hold: Hold,
    stop: &CancellationToken,
) -> Result<Progress, Outage> {
    let changes = [change];
    let result = AssertUnwindSafe(apply_with_retries(writer, &changes, hold, stop))
        .catch_unwind()
        .await;
    if let Ok(progress) = result
        && let Some(progress) = progress?.pop()
    {
        return Ok(progress);
    }
    tracing::error!(
        command.id = change.command_id.as_str(),
        "applying a command failed unexpectedly; it is refused and parked"
    );
    Ok(Progress::Refused(vec![CommandError::internal()]))
}

async fn apply_with_retries(
    writer: &mut Writer,
    changes: &[&Change],
    hold: Hold,
    stop: &CancellationToken,
) -> Result<Vec<Progress>, Outage> {
    let apply = async || apply(writer, changes).await;
    let result = hold_during_outage(changes.len(), hold, stop, apply).await;
    result.map_err(|source| Outage {
        source,
        sample: plan::sample(changes),
    })
}

/// Runs a statement, and retries while the database is unavailable. `commands`: how many commands wait for it.
///
/// # Errors
/// The last error, after the time of `hold`, or 15 s after `stop`.
pub async fn hold_during_outage<T>(
    commands: usize,
    hold: Hold,
    stop: &CancellationToken,
    mut statement: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let hold = match hold {
        Hold::Limited => failpoint::outage_hold().unwrap_or(OUTAGE_HOLD),
        Hold::UntilAvailable => Duration::MAX,
    };
    let started = Instant::now();
    let mut pauses = broker::backoff();
    loop {
        let error = match statement().await {
            Ok(result) => return Ok(result),
            Err(error) => error,
        };
        let limit = if stop.is_cancelled() {
            SHUTDOWN_HOLD
        } else {
            hold
        };
        if started.elapsed() > limit {
            return Err(error);
        }
        metrics::database_retry();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands,
            "the database is unavailable; holding the commands and trying again"
        );
        // The pauses have no end; the default is never used.
        tokio::time::sleep(pauses.next().unwrap_or(broker::DEADLINE)).await;
    }
}

/// Applies commands once, in their order. The results have the order of the commands.
///
/// # Errors
/// The database is unavailable. Some commands may have been applied; applying all of them again gives the
/// same outcomes.
pub async fn apply(writer: &mut Writer, changes: &[&Change]) -> Result<Vec<Progress>, StoreError> {
    statements::apply(writer, changes).await
}
