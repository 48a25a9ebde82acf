//! Limits how often a message is logged, for events that clients can cause.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(10);

/// Decides whether a message may be logged again.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Option<Instant>);

impl LogThrottle {
    /// True for the first call, and then once in [`PAUSE`] at most.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_logged_again_only_after_the_pause() {
        let mut throttle = LogThrottle::default();
        assert!(throttle.is_due());
        assert!(!throttle.is_due());

        throttle.0 = Instant::now().checked_sub(PAUSE);
        assert!(throttle.is_due());
    }
}
