//! Forgets decisions that are older than the retention, a few at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{metrics, store::Store};

/// Decisions in one statement: it takes a few milliseconds.
const BATCH: u32 = 1000;
/// Between two statements, while there is something to forget: saves come first.
const BREATH: Duration = Duration::from_millis(500);
/// Between two looks.
const PAUSE: Duration = Duration::from_mins(10);

/// Prunes the ledger until told to stop. Several workers take turns.
pub async fn keep(store: Store, retention: Duration, stop: CancellationToken) {
    let mut forgotten = 0;
    loop {
        let pruned = match store.prune(retention, BATCH).await {
            Ok(pruned) => pruned,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the ledger is not pruned at the moment");
                0
            }
        };
        metrics::pruned(pruned);
        forgotten += pruned;
        let pause = if pruned < u64::from(BATCH) {
            if forgotten > 0 {
                tracing::info!(decisions = forgotten, "the ledger was pruned");
            }
            forgotten = 0;
            PAUSE
        } else {
            BREATH
        };
        let pause = tokio::time::sleep(pause);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}
