//! Decides when a batch starts, and how many of the waiting commands it has. A pure function of the waiting
//! commands, the time and the last batch.

use std::time::{Duration, Instant};

/// The most commands in one batch. A larger batch is hardly faster per command, and each of its commands waits
/// longer.
pub(crate) const MAX_BATCH: usize = 400;
/// Approximate limit on the bytes of bodies in one batch. A larger batch takes several statements anyway.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long to wait for a batch to fill after a large one. Callers that were just answered send their
/// next save within about 2 ms. Measured: docs/performance.md.
const LINGER: Duration = Duration::from_millis(2);
/// After a batch with fewer commands, the next one starts at once: waiting would slow down a single caller
/// that saves one record after the other.
const LINGER_MIN_BATCH: usize = 8;

/// The properties of a waiting command that the batcher needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub bytes: usize,
    pub redelivered: bool,
}

/// The next step of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start a batch with the first commands, this many.
    Batch(usize),
    /// Ask again at this time, or when another command has arrived.
    WaitUntil(Instant),
    /// No command waits.
    Idle,
}

/// Decides about the batches of one session. Use it only while no batch is being processed.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    /// The number of commands in the last batch.
    last: usize,
    /// When to stop waiting for more commands.
    deadline: Option<Instant>,
}

impl Batcher {
    /// The next step for the waiting commands, which are in the order of delivery.
    pub fn next(&mut self, waiting: impl ExactSizeIterator<Item = Waiting>, now: Instant) -> Next {
        let all = waiting.len();
        let mut waiting = waiting.peekable();
        let Some(first) = waiting.peek() else {
            return Next::Idle;
        };
        if first.redelivered {
            // Alone, because it may have crashed a worker before. If it does so again, no other command is
            // delivered once more for it.
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
    fn all_waiting_commands_are_one_batch_up_to_the_limit() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[], now), Next::Idle);
        assert_eq!(next(&mut batcher, &[NEW; 3], now), Next::Batch(3));
        let many = vec![NEW; MAX_BATCH + 1];
        assert_eq!(next(&mut batcher, &many, now), Next::Batch(MAX_BATCH));
    }

    #[test]
    fn a_redelivered_command_has_a_batch_of_its_own() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        let waiting = [NEW, NEW, REDELIVERED, NEW];
        assert_eq!(next(&mut batcher, &waiting, now), Next::Batch(2));
        assert_eq!(next(&mut batcher, &waiting[2..], now), Next::Batch(1));
        assert_eq!(next(&mut batcher, &waiting[3..], now), Next::Batch(1));
    }

    #[test]
    fn after_a_large_batch_the_next_one_waits_for_more_commands() {
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
            "three quarters of the last batch are enough"
        );
    }

    #[test]
    fn a_single_caller_never_waits() {
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
    fn a_redelivered_command_never_waits_for_others() {
        let (mut batcher, now) = (Batcher::default(), Instant::now());
        assert_eq!(next(&mut batcher, &[NEW; 64], now), Next::Batch(64));
        assert_eq!(next(&mut batcher, &[REDELIVERED], now), Next::Batch(1));
    }

    #[test]
    fn a_batch_has_a_limit_in_bytes() {
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
            "a batch has at least one command"
        );
    }
}
