//! The outbox relay: publishes the events of committed changes, at least once and in order for each record.
//!
//! It reads the oldest rows of the outbox, publishes their events, waits until the broker has confirmed all of
//! them, and deletes the rows. Only one relay may publish at a time, or the order would be lost. So the relay
//! of each worker first takes an advisory lock in the database.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Publisher,
    events::{EventError, EventPublisher},
};
use crate::store::{OutboxRow, Store, StoreError};

/// The most rows that are read at once. A row has the events of one statement, up to 400.
const MAX_ROWS: i64 = 8;
/// If the last rows had more bytes than this, only one row is read next.
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Pause between two rounds. Without it, publishing the events of a batch would cost as much as storing it.
const ROUND_PAUSE: Duration = Duration::from_millis(25);
/// How long a relay keeps the lock while the outbox is empty, and the first pause before a retry.
const IDLE: Duration = Duration::from_millis(250);
/// How often to read the outbox without a wake-up, and the longest pause before a retry. A worker that died may
/// have left rows in the outbox.
const POLL_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("no connection to the broker")]
    Disconnected,
    #[error("publishing events panicked; this is a bug of the worker")]
    Panicked,
}

/// Publishes the events of the outbox until `stop`, and then once more.
pub async fn run(store: Store, publisher: Publisher, stop: CancellationToken) {
    let mut relay = OutboxRelay {
        store,
        publisher,
        state: State::Unlocked,
        woken: false,
        max_rows: 1,
        failures: 0,
        events: EventPublisher::default(),
    };
    loop {
        let last = stop.is_cancelled();
        let round = AssertUnwindSafe(relay.round()).catch_unwind();
        if let Err(error) = round.await.unwrap_or(Err(RelayError::Panicked)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events can't be published now; they are kept in the outbox"
            );
            relay.state = State::Failed;
            relay.failures = relay.failures.saturating_add(1);
        }
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = relay.wait() => {}
        }
    }
}

struct OutboxRelay {
    store: Store,
    publisher: Publisher,
    state: State,
    /// Whether this worker has written to the outbox since the last time that it was empty.
    woken: bool,
    /// How many rows to read at once.
    max_rows: i64,
    /// How many rounds have failed since the last one that did not.
    failures: u32,
    events: EventPublisher,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another relay may hold the lock.
    Unlocked,
    /// This relay holds the lock.
    Locked,
    /// Another relay has the lock while this worker's events wait.
    Waiting,
    /// The last round failed. This relay may or may not hold the lock.
    Failed,
}

impl OutboxRelay {
    /// Waits until there may be an event to publish.
    async fn wait(&mut self) {
        match self.state {
            State::Failed => {
                let pause = IDLE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(8));
                sleep(pause.min(POLL_PERIOD)).await;
            }
            State::Waiting => sleep(IDLE).await,
            State::Unlocked => {
                sleep(ROUND_PAUSE).await;
                self.is_woken_within(POLL_PERIOD).await;
            }
            State::Locked => {
                sleep(ROUND_PAUSE).await;
                if !self.is_woken_within(IDLE).await {
                    self.unlock().await;
                    self.is_woken_within(POLL_PERIOD).await;
                }
            }
        }
    }

    async fn is_woken_within(&mut self, period: Duration) -> bool {
        let woken = timeout(period, self.store.outbox_written()).await.is_ok();
        self.woken |= woken;
        woken
    }

    async fn unlock(&mut self) {
        // First, because this future may be dropped. The connection is closed then, and with it the lock ends.
        self.state = State::Unlocked;
        if let Err(error) = self.store.unlock_outbox().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the lock of the outbox can't be released now; it is released when its connection ends"
            );
        }
    }

    /// Publishes all events in the outbox, unless another relay has the lock.
    async fn round(&mut self) -> Result<(), RelayError> {
        let Some(channel) = self.publisher.events() else {
            // Another worker may be able to publish.
            if self.state != State::Unlocked {
                self.unlock().await;
            }
            return if self.woken {
                Err(RelayError::Disconnected)
            } else {
                Ok(())
            };
        };
        if self.state != State::Locked {
            if !self.store.lock_outbox().await? {
                self.state = if self.woken {
                    State::Waiting
                } else {
                    State::Unlocked
                };
                return Ok(());
            }
            self.state = State::Locked;
        }
        loop {
            let rows = self.store.oldest_outbox_rows(self.max_rows).await?;
            self.events.publish(&channel, &rows).await?;
            let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
            if !seqs.is_empty() {
                self.store.delete_outbox_rows(&seqs).await?;
            }
            self.failures = 0;
            let is_last = i64::try_from(rows.len()).is_ok_and(|rows| rows < self.max_rows);
            let bytes: usize = rows.iter().map(OutboxRow::bytes).sum();
            self.max_rows = if bytes > LARGE_BYTES { 1 } else { MAX_ROWS };
            if is_last {
                self.woken = false;
                return Ok(());
            }
        }
    }
}
