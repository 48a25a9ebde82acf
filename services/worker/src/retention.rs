//! Deletes ledger entries that are older than the retention period, in small batches.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{metrics, store::Store};

/// Entries that one statement deletes. Such a statement takes a few milliseconds.
const BATCH: u32 = 1000;
/// Pause between two statements while there are more entries to delete. Saves have priority.
const BATCH_PAUSE: Duration = Duration::from_millis(500);
/// How often to check for entries that are too old.
const CHECK_PERIOD: Duration = Duration::from_mins(10);

/// Prunes the ledger until `stop`. Several workers may run it at the same time.
pub async fn run(store: Store, retention: Duration, stop: CancellationToken) {
    let mut total = 0;
    loop {
        let pruned = match store.prune(retention, BATCH).await {
            Ok(pruned) => pruned,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the ledger can't be pruned now; trying again later");
                0
            }
        };
        metrics::pruned(pruned);
        total += pruned;
        let pause = if pruned < u64::from(BATCH) {
            if total > 0 {
                tracing::info!(entries = total, "the ledger was pruned");
            }
            total = 0;
            CHECK_PERIOD
        } else {
            BATCH_PAUSE
        };
        let pause = tokio::time::sleep(pause);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}
