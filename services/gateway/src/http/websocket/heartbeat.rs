//! Detects clients that vanished without closing their connection.
//!
//! async-graphql's own timeout can't be used: it ignores pongs, and a client that only receives sends
//! nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A client that sent nothing in this number of consecutive intervals is closed.
const MAX_SILENT_INTERVALS: u32 = 2;

pub(super) struct Heartbeat {
    interval: Duration,
    /// The end of the current interval.
    pub next: Instant,
    /// Set by every message of the client; reset at the start of an interval.
    pub received: Arc<AtomicBool>,
    /// The number of consecutive intervals without a message.
    silent_intervals: u32,
}

impl Heartbeat {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now() + interval,
            received: Arc::default(),
            silent_intervals: 0,
        }
    }

    /// Starts the next interval. Returns `false` if the client must be closed.
    pub fn beat(&mut self) -> bool {
        let received = self.received.swap(false, Ordering::Relaxed);
        self.silent_intervals = if received {
            0
        } else {
            self.silent_intervals + 1
        };
        self.next = Instant::now() + self.interval;
        self.silent_intervals < MAX_SILENT_INTERVALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_consecutive_silent_intervals_count() {
        let mut heartbeat = Heartbeat::new(Duration::from_secs(1));
        assert!(heartbeat.beat());
        heartbeat.received.store(true, Ordering::Relaxed);
        assert!(heartbeat.beat());
        assert!(heartbeat.beat());
        assert!(!heartbeat.beat());
    }
}
