//! When a batch begins, and how many of the waiting commands are in it. Pure: what waits and the time
//! go in, a decision comes out.

use std::time::{Duration, Instant};

/// The most commands in one batch. Larger ones gain little, and each command waits for more
/// neighbours. The store writes a large batch by two connections.
pub(crate) const MAX_BATCH: usize = 400;
/// Bytes of bodies in one batch, roughly: a larger statement is not faster.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long to wait for a batch to fill after a large one. Callers that were just answered send their
/// next save within about 2 ms. Measured: docs/performance.md.
const LINGER: Duration = Duration::from_millis(2);
/// After a smaller batch nothing is waited for: a caller that saves one after the other would be slowed
/// down.
const LINGER_MIN_BATCH: usize = 8;

/// What the batcher has to know of a waiting command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub bytes: usize,
    pub redelivered: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Begin a batch with this many of the commands, in their order.
    Batch(usize),
    /// Ask again at this time, or when another command came.
    WaitUntil(Instant),
    /// Nothing waits.
    Idle,
}

/// Decides over the batches of one session. Asked only while no batch is in work.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    /// How many commands were in the last batch.
    last: usize,
    /// Until when it is waited for more.
    deadline: Option<Instant>,
}

impl Batcher {
    /// What to do with the commands that wait, the oldest first.
    pub fn next(&mut self, waiting: impl ExactSizeIterator<Item = Waiting>, now: Instant) -> Next {
        let all = waiting.len();
        let mut waiting = waiting.peekable();
        let Some(first) = waiting.peek() else {
            return Next::Idle;
        };
        if first.redelivered {
            // By itself: it may be what ended a worker before, and must not take others with it again.
            self.deadline = None;
            return Next::Batch(1);
        }
        if self.last >= LINGER_MIN_BATCH && all < self.last * 3 / 4 {
            let deadline = *self.deadline.get_or_insert(now + LINGER);
            if now < deadline {
                return Next::WaitUntil(deadline);
            }
        }
        let mut bytes = 0;
        let fits = |command: &Waiting| {
            let has_room = bytes < MAX_BATCH_BYTES;
            bytes += command.bytes;
            has_room && !command.redelivered
        };
        self.deadline = None;
        self.last = waiting.take(MAX_BATCH).take_while(fits).count();
        Next::Batch(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Waiting = Waiting {
        bytes: 300,
        redelivered: false,
    };
    const REDELIVERED: Waiting = Waiting {
        bytes: 300,
        redelivered: true,
    };

    fn next(batcher: &mut Batcher, waiting: &[Waiting], now: Instant) -> Next {
        batcher.next(waiting.iter().copied(), now)
    }

    #[test]
    fn all_that_waits_is_one_batch_up_to_its_limit() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[], now), Next::Idle);
        assert_eq!(next(&mut batcher, &[NEW; 3], now), Next::Batch(3));
        let many = vec![NEW; MAX_BATCH + 1];
        assert_eq!(next(&mut batcher, &many, now), Next::Batch(MAX_BATCH));
    }

    #[test]
    fn what_was_delivered_before_is_alone() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        let waiting = [NEW, NEW, REDELIVERED, NEW];
        assert_eq!(next(&mut batcher, &waiting, now), Next::Batch(2));
        assert_eq!(next(&mut batcher, &waiting[2..], now), Next::Batch(1));
        assert_eq!(next(&mut batcher, &waiting[3..], now), Next::Batch(1));
    }

    #[test]
    fn after_a_large_batch_the_next_may_fill_for_a_moment() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[NEW; 64], now), Next::Batch(64));

        let deadline = now + LINGER;
        assert_eq!(
            next(&mut batcher, &[NEW; 10], now),
            Next::WaitUntil(deadline)
        );
        let later = now + LINGER / 2;
        assert_eq!(
            next(&mut batcher, &[NEW; 20], later),
            Next::WaitUntil(deadline)
        );
        assert_eq!(next(&mut batcher, &[NEW; 20], deadline), Next::Batch(20));

        assert_eq!(
            next(&mut batcher, &[NEW; 15], later),
            Next::Batch(15),
            "three quarters are enough"
        );
    }

    #[test]
    fn one_caller_never_waits() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(next(&mut batcher, &[NEW], now), Next::Batch(1));
        }
        assert_eq!(
            next(&mut batcher, &[NEW; LINGER_MIN_BATCH - 1], now),
            Next::Batch(LINGER_MIN_BATCH - 1)
        );
        assert_eq!(next(&mut batcher, &[NEW], now), Next::Batch(1));
    }

    #[test]
    fn a_redelivered_command_is_not_waited_with() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[NEW; 64], now), Next::Batch(64));
        assert_eq!(next(&mut batcher, &[REDELIVERED], now), Next::Batch(1));
    }

    #[test]
    fn a_batch_is_bounded_in_bytes() {
        let large = Waiting {
            bytes: MAX_BATCH_BYTES / 2,
            redelivered: false,
        };
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[large; 5], now), Next::Batch(2));
        let huge = Waiting {
            bytes: MAX_BATCH_BYTES * 2,
            redelivered: false,
        };
        assert_eq!(
            next(&mut Batcher::default(), &[huge, NEW], now),
            Next::Batch(1),
            "never none"
        );
    }
}
