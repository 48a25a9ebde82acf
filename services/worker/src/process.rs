//! Has commands decided: valid commands in, outcomes out. Knows the store, and nothing of AMQP.
//!
//! A conflict is an outcome, not an error. The only error is that the database could not decide for so
//! long that the commands have to go back to the broker.

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

pub use self::progress::{OutcomeKind, Progress};
use self::statements::Names;
use crate::{
    change::Change,
    failpoint, metrics,
    store::{StoreError, Writers},
};

/// How long an outage of the database is waited for with commands in hand. After that they go back, so
/// that an outage costs each command one delivery and not its delivery limit.
const OUTAGE_HOLD: Duration = Duration::from_mins(2);
/// How long a worker that has to stop goes on trying to finish what it has in hand.
const DRAIN: Duration = Duration::from_secs(15);

/// The database could not decide for too long.
#[derive(Debug, thiserror::Error)]
#[error("the database was away for too long")]
pub struct Outage {
    /// The last error.
    pub source: StoreError,
    /// Some of what could not be decided: the outage lasts for as long as it can't.
    pub sample: Vec<Change>,
}

/// Decides commands, in order; the results stand in the order of the commands. Where that panics, each is
/// decided by itself, and the one that panics is refused.
///
/// # Errors
/// The database could not decide for two minutes. Some commands may have been decided; to decide all of
/// them again gives the same outcomes.
pub async fn process(
    writers: &mut Writers,
    changes: &[&Change],
    stop: &CancellationToken,
) -> Result<Vec<Progress>, Outage> {
    let together = AssertUnwindSafe(apply_or_hold(writers, changes, stop));
    if let Ok(progress) = together.catch_unwind().await {
        return progress;
    }
    let mut all = Vec::with_capacity(changes.len());
    let mut locked = Names::default();
    for change in changes {
        let progress = if locked.share(change) {
            Progress::Locked
        } else {
            let alone = apply_or_hold(writers, std::slice::from_ref(change), stop);
            match AssertUnwindSafe(alone).catch_unwind().await {
                Ok(progress) => progress?.pop().unwrap_or_else(internal),
                Err(_) => internal(),
            }
        };
        if matches!(progress, Progress::Locked) {
            locked.add(change);
        }
        all.push(progress);
    }
    Ok(all)
}

fn internal() -> Progress {
    Progress::Refused(vec![CommandError::internal()])
}

/// Decides the commands, and holds them while the database can't.
async fn apply_or_hold(
    writers: &mut Writers,
    changes: &[&Change],
    stop: &CancellationToken,
) -> Result<Vec<Progress>, Outage> {
    let hold = failpoint::hold().unwrap_or(OUTAGE_HOLD);
    let started = Instant::now();
    let mut pauses = broker::backoff();
    loop {
        let error = match apply(writers, changes).await {
            Ok(progress) => return Ok(progress),
            Err(error) => error,
        };
        let limit = if stop.is_cancelled() { DRAIN } else { hold };
        if started.elapsed() > limit {
            return Err(Outage {
                source: error,
                sample: statements::sample(changes),
            });
        }
        metrics::held();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = changes.len(),
            "the database can't decide now; holding the commands and trying again"
        );
        tokio::time::sleep(pauses.next().unwrap_or(broker::DEADLINE)).await;
    }
}

/// Decides commands once, in order; the results stand in the order of the commands.
///
/// # Errors
/// The database can't decide now. Some commands may have been decided; to decide all of them again gives
/// the same outcomes.
pub async fn apply(
    writers: &mut Writers,
    changes: &[&Change],
) -> Result<Vec<Progress>, StoreError> {
    statements::apply(writers, changes).await
}
