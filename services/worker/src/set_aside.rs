//! Commands that wait for a locked record, and those that stand behind them.
//!
//! Two commands for the same record, or with the same id, are never decided out of their order. So
//! whatever shares a name with a command that waits has to wait behind it.

use std::collections::{HashSet, VecDeque};

/// Hashes of a command's record and of its id. Two different names with the same hash cost a wait.
pub(crate) type Names = [u64; 2];

/// What waits, in its order.
pub(crate) struct SetAside<T> {
    /// What is not being tried at the moment.
    waiting: VecDeque<(Names, T)>,
    /// How many are being tried.
    trying: usize,
    /// Of all that waits or is being tried.
    names: HashSet<u64>,
}

impl<T> Default for SetAside<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            trying: 0,
            names: HashSet::new(),
        }
    }
}

impl<T> SetAside<T> {
    /// How many wait or are being tried.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.trying
    }

    /// Whether a command has to wait behind one of these.
    pub fn share(&self, names: Names) -> bool {
        names.iter().any(|name| self.names.contains(name))
    }

    /// Adds one behind all others.
    pub fn push(&mut self, names: Names, item: T) {
        self.names.extend(names);
        self.waiting.push_back((names, item));
    }

    /// All that wait and are not being tried.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|(_, item)| item)
    }

    /// Takes out what can be tried now, `most` at the most: whatever stands behind no other.
    pub fn begin(&mut self, most: usize) -> Vec<T> {
        let mut seen = HashSet::new();
        let mut first = Vec::new();
        let mut behind = VecDeque::new();
        for (names, item) in self.waiting.drain(..) {
            let is_new = !names.iter().any(|name| seen.contains(name));
            seen.extend(names);
            if is_new && first.len() < most {
                first.push(item);
            } else {
                behind.push_back((names, item));
            }
        }
        self.waiting = behind;
        self.trying = first.len();
        first
    }

    /// Takes back what was tried in vain, in its order. Gives out what no longer waits for anything,
    /// in its order.
    pub fn end(&mut self, in_vain: Vec<(Names, T)>) -> Vec<T> {
        self.trying = 0;
        self.names.clear();
        let behind = std::mem::take(&mut self.waiting);
        for (names, item) in in_vain {
            self.push(names, item);
        }
        let mut free = Vec::new();
        for (names, item) in behind {
            if self.share(names) {
                self.push(names, item);
            } else {
                free.push(item);
            }
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command: its record and its id; it is known by both.
    fn aside(commands: &[Names]) -> SetAside<Names> {
        let mut aside = SetAside::default();
        for names in commands {
            aside.push(*names, *names);
        }
        aside
    }

    fn named(all: Vec<Names>) -> Vec<(Names, Names)> {
        all.into_iter().map(|names| (names, names)).collect()
    }

    #[test]
    fn a_record_has_one_command_in_a_try_and_the_others_keep_their_order() {
        let mut aside = aside(&[[1, 101], [2, 102], [1, 103], [1, 104], [2, 105]]);

        assert_eq!(aside.begin(10), [[1, 101], [2, 102]]);
        let free = aside.end(named(vec![[2, 102]]));

        assert_eq!(free, [[1, 103], [1, 104]], "record 1 is free");
        assert_eq!(aside.len(), 2);
        assert_eq!(aside.begin(10), [[2, 102]]);
        assert_eq!(aside.end(Vec::new()), [[2, 105]]);
        assert_eq!(aside.len(), 0);
    }

    #[test]
    fn what_shares_an_id_waits_and_so_does_what_is_for_its_record() {
        let mut aside = aside(&[[1, 101], [2, 101], [2, 102]]);

        assert!(aside.share([3, 101]) && aside.share([2, 103]));
        assert!(!aside.share([3, 103]));
        assert_eq!(aside.begin(10), [[1, 101]]);
        assert!(aside.end(named(vec![[1, 101]])).is_empty());
        assert_eq!(aside.begin(10), [[1, 101]]);
        assert_eq!(aside.end(Vec::new()), [[2, 101], [2, 102]]);
    }

    #[test]
    fn what_is_being_tried_still_holds_back_what_comes() {
        let mut aside = aside(&[[1, 101]]);

        aside.begin(10);
        assert!(aside.share([1, 102]));
        aside.push([1, 102], [1, 102]);
        assert_eq!(aside.len(), 2);
        assert!(aside.end(named(vec![[1, 101]])).is_empty());
        assert_eq!(aside.begin(10), [[1, 101]]);
        assert_eq!(aside.end(Vec::new()), [[1, 102]]);
        assert!(!aside.share([1, 103]));
    }

    #[test]
    fn what_is_too_much_for_one_try_is_not_given_out_untried_behind_it() {
        let mut aside = aside(&[[1, 101], [2, 102], [2, 103]]);

        assert_eq!(aside.begin(1), [[1, 101]]);
        // Nothing tells that record 2 is locked still: it goes the way of all others.
        assert_eq!(
            aside.end(named(vec![[1, 101]])),
            [[2, 102], [2, 103]],
            "in their order"
        );
    }
}
