//! Decides which deliveries to acknowledge, and when. It sends nothing itself: the session does.
//!
//! A delivery has one or more commands. A command is settled when its outcome is committed, or when the broker
//! has confirmed its parked copy. A delivery is acknowledged when all of its commands are settled:
//!
//! ```text
//! Open { commands: n } ── a command is settled ──▶ Open { commands: n - 1 }
//! Open { commands: 1 } ── the last command is settled ──▶ Settled ── acknowledged ──▶ (removed)
//! ```
//!
//! Acknowledgements are delayed by a few milliseconds and sent together, while the next statement runs. The
//! broker writes acknowledgements to its disk, and the next command of a caller that saves one record after
//! the other would have to wait for that write.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a settled delivery may stay unacknowledged. If a worker dies, the settled commands of this time
/// are delivered again; the ledger has their outcomes.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// How many settled deliveries may stay unacknowledged. It must be less than the prefetch, or the broker would
/// stop sending.
const MAX_UNACKED: usize = 100;

/// The state of a delivery that is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open { commands: usize },
    Settled,
}

/// An acknowledgement to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub tag: u64,
    /// Whether it covers every delivery up to this one.
    pub multiple: bool,
}

/// The deliveries of one session that are not acknowledged, by their tags. Each keeps a value of type `H`
/// until then: its reservation of memory.
#[derive(Debug)]
pub(crate) struct Acks<H> {
    deliveries: BTreeMap<u64, (State, H)>,
    /// The number of settled deliveries.
    settled: usize,
    /// When the first of the settled deliveries was settled.
    since: Option<Instant>,
}

impl<H> Default for Acks<H> {
    fn default() -> Self {
        Self {
            deliveries: BTreeMap::new(),
            settled: 0,
            since: None,
        }
    }
}

impl<H> Acks<H> {
    /// Adds a delivery with this many commands. Tags increase in the order of delivery.
    pub fn open(&mut self, tag: u64, commands: usize, held: H) {
        self.deliveries
            .insert(tag, (State::Open { commands }, held));
    }

    /// Settles one command of a delivery. An unknown tag is ignored: its delivery is acknowledged already.
    pub fn settle(&mut self, tag: u64, now: Instant) {
        let Some((state, _)) = self.deliveries.get_mut(&tag) else {
            return;
        };
        match state {
            State::Open { commands } if *commands > 1 => *commands -= 1,
            State::Open { .. } => {
                *state = State::Settled;
                self.settled += 1;
                self.since.get_or_insert(now);
            }
            State::Settled => {}
        }
    }

    /// When to send acknowledgements. `None` if there are none to send.
    pub fn due(&self) -> Option<Instant> {
        let since = self.since?;
        Some(if self.settled < MAX_UNACKED {
            since + ACK_DELAY
        } else {
            since
        })
    }

    /// Removes the settled deliveries and returns their acknowledgements: a single one for all deliveries
    /// before the first open one, and one for each of the others.
    pub fn take(&mut self) -> Vec<Ack> {
        (self.since, self.settled) = (None, 0);
        let is_open = |state: State| matches!(state, State::Open { .. });
        let first_open = self
            .deliveries
            .iter()
            .find(|(_, (state, _))| is_open(*state))
            .map(|(tag, _)| *tag);
        let rest = match first_open {
            Some(open) => self.deliveries.split_off(&open),
            None => BTreeMap::new(),
        };
        let front = std::mem::replace(&mut self.deliveries, rest);
        let multiple = |tag| Ack {
            tag,
            multiple: true,
        };
        let mut acks = Vec::from_iter(front.into_keys().next_back().map(multiple));
        self.deliveries.retain(|tag, (state, _)| {
            if !is_open(*state) {
                acks.push(Ack {
                    tag: *tag,
                    multiple: false,
                });
            }
            is_open(*state)
        });
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(deliveries: &[(u64, usize)]) -> Acks<()> {
        let mut acks = Acks::default();
        for (tag, commands) in deliveries {
            acks.open(*tag, *commands, ());
        }
        acks
    }

    fn ack(tag: u64, multiple: bool) -> Ack {
        Ack { tag, multiple }
    }

    #[test]
    fn consecutive_settled_deliveries_have_one_acknowledgement() {
        let mut acks = with(&[(1, 1), (2, 1), (3, 1)]);
        assert_eq!(acks.take(), []);

        acks.settle(2, Instant::now());
        acks.settle(1, Instant::now());
        assert_eq!(acks.take(), [ack(2, true)]);
        assert_eq!(acks.take(), []);

        acks.settle(3, Instant::now());
        assert_eq!(acks.take(), [ack(3, true)]);
        assert!(acks.deliveries.is_empty());
    }

    #[test]
    fn an_open_delivery_is_never_acknowledged_together_with_others() {
        let mut acks = with(&[(1, 1), (2, 1), (3, 1), (4, 1)]);

        for tag in [1, 3, 4] {
            acks.settle(tag, Instant::now());
        }

        assert_eq!(acks.take(), [ack(1, true), ack(3, false), ack(4, false)]);
        acks.settle(2, Instant::now());
        assert_eq!(acks.take(), [ack(2, true)]);
    }

    #[test]
    fn a_delivery_is_settled_when_its_last_command_is() {
        let mut acks = with(&[(7, 3)]);

        acks.settle(7, Instant::now());
        acks.settle(7, Instant::now());
        assert_eq!((acks.due(), acks.take()), (None, Vec::new()));
        acks.settle(7, Instant::now());
        assert!(acks.due().is_some());
        assert_eq!(acks.take(), [ack(7, true)]);
    }

    #[test]
    fn a_delivery_keeps_its_reservation_until_it_is_acknowledged() {
        let held = std::rc::Rc::new(());
        let mut acks = Acks::default();
        acks.open(1, 1, held.clone());
        acks.settle(1, Instant::now());
        assert_eq!(std::rc::Rc::strong_count(&held), 2);
        acks.take();
        assert_eq!(std::rc::Rc::strong_count(&held), 1);
    }

    #[test]
    fn acknowledgements_are_due_after_a_delay_or_when_there_are_many() {
        let now = Instant::now();
        let many: Vec<_> = (1..=MAX_UNACKED as u64).map(|tag| (tag, 1)).collect();
        let mut acks = with(&many);
        assert_eq!(acks.due(), None);

        acks.settle(1, now);
        acks.settle(2, now + ACK_DELAY / 2);
        assert_eq!(acks.due(), Some(now + ACK_DELAY));
        for (tag, _) in many {
            acks.settle(tag, now);
        }
        assert_eq!(acks.due(), Some(now));
    }

    #[test]
    fn an_unknown_tag_changes_nothing() {
        let mut acks = with(&[(1, 1)]);
        acks.settle(2, Instant::now());
        assert_eq!((acks.due(), acks.take()), (None, Vec::new()));
    }
}
