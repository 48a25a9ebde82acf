//! Lines of the log that must not come as often as what they tell of.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(10);

/// Says when something may be logged again.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Option<Instant>);

impl LogThrottle {
    /// True at first, and then once in ten seconds at most.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
