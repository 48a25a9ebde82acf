//! Commands that wait for a locked record, and those that stand behind them.
//!
//! Two commands for the same record, or with the same id, are never decided out of their order. So
//! whatever shares a record or an id with a command that waits has to wait behind it.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use crate::change::Change;

/// Hashes of a command's record and of its id. Two different names with the same hash cost a wait.
pub(crate) type Hashes = [u64; 2];

/// Hashes of the record and of the id that a change names.
pub(crate) fn hashes(hasher: &RandomState, change: &Change) -> Hashes {
    let key = change.command.key();
    let id = (&key.catalog_guid, &change.command_id);
    [hasher.hash_one(key), hasher.hash_one(id)]
}

/// What waits, in the order of delivery.
pub(crate) struct SetAside<T> {
    /// What is not being tried at the moment.
    waiting: VecDeque<Entry<T>>,
    /// How many are being tried.
    trying: usize,
    /// How many tries were begun.
    tries: u64,
    /// Of all that waits or is being tried.
    hashes: HashSet<u64>,
}

struct Entry<T> {
    /// The tag of its delivery.
    tag: u64,
    hashes: Hashes,
    item: T,
    /// Whether it was found locked itself. Otherwise it waits only for those before it.
    locked: bool,
    /// In which try it was the last time, counted from 1 on; 0 for none.
    last_try: u64,
}

impl<T> Default for SetAside<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            trying: 0,
            tries: 0,
            hashes: HashSet::new(),
        }
    }
}

impl<T> SetAside<T> {
    /// How many wait or are being tried.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.trying
    }

    /// Whether a command has to wait behind one of these.
    pub fn share(&self, hashes: Hashes) -> bool {
        hashes.iter().any(|hash| self.hashes.contains(hash))
    }

    /// Adds one in the order of delivery. `locked`: a batch could not decide it, for it was locked or
    /// stood behind a locked one of the same batch.
    pub fn push(&mut self, tag: u64, hashes: Hashes, item: T, locked: bool) {
        let mut before = self.waiting.iter().take_while(|entry| entry.tag < tag);
        // Of a batch's commands for one record only the first was found locked: when that one is decided,
        // the others are free.
        let locked =
            locked && !before.any(|entry| entry.hashes.iter().any(|hash| hashes.contains(hash)));
        self.insert(Entry {
            tag,
            hashes,
            item,
            locked,
            last_try: 0,
        });
    }

    fn insert(&mut self, entry: Entry<T>) {
        self.hashes.extend(entry.hashes);
        let place = self.waiting.partition_point(|other| other.tag < entry.tag);
        self.waiting.insert(place, entry);
    }

    /// All that wait and are not being tried.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|entry| &entry.item)
    }

    /// Takes out what can be tried now, `most` at the most: whatever stands behind no other. Where those
    /// are more, they take turns.
    pub fn begin(&mut self, most: usize) -> Vec<T> {
        let mut seen: HashSet<u64> = HashSet::new();
        let mut first = Vec::new();
        for entry in &self.waiting {
            if !entry.hashes.iter().any(|hash| seen.contains(hash)) {
                first.push((entry.last_try, entry.tag));
            }
            seen.extend(entry.hashes);
        }
        first.sort_unstable();
        first.truncate(most);
        let tags: HashSet<u64> = first.into_iter().map(|(_, tag)| tag).collect();
        let (first, behind): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|entry| tags.contains(&entry.tag));
        self.waiting = behind;
        self.trying = first.len();
        self.tries += 1;
        first.into_iter().map(|entry| entry.item).collect()
    }

    /// Takes back what was tried in vain, with the tags of their deliveries. Gives out what no longer waits
    /// for anything, in the order of delivery.
    pub fn end(&mut self, in_vain: Vec<(u64, Hashes, T)>) -> Vec<T> {
        self.trying = 0;
        for (tag, hashes, item) in in_vain {
            self.insert(Entry {
                tag,
                hashes,
                item,
                locked: true,
                last_try: self.tries,
            });
        }
        self.hashes.clear();
        let mut free = Vec::new();
        for entry in std::mem::take(&mut self.waiting) {
            if entry.locked || self.share(entry.hashes) {
                self.hashes.extend(entry.hashes);
                self.waiting.push_back(entry);
            } else {
                free.push(entry.item);
            }
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: bool = true;
    const BEHIND: bool = false;

    /// Commands: the delivery tag, by which it is known here, its record and id, and why it waits.
    fn aside(commands: &[(u64, Hashes, bool)]) -> SetAside<u64> {
        let mut aside = SetAside::default();
        for (tag, hashes, locked) in commands {
            aside.push(*tag, *hashes, *tag, *locked);
        }
        aside
    }

    fn in_vain(commands: &[(u64, Hashes)]) -> Vec<(u64, Hashes, u64)> {
        let commands = commands.iter();
        commands
            .map(|(tag, hashes)| (*tag, *hashes, *tag))
            .collect()
    }

    #[test]
    fn a_record_has_one_command_in_a_try_and_the_others_keep_their_order() {
        let mut aside = aside(&[
            (1, [1, 101], LOCKED),
            (2, [2, 102], LOCKED),
            (3, [1, 103], BEHIND),
            (4, [1, 104], BEHIND),
            (5, [2, 105], BEHIND),
        ]);

        assert_eq!(aside.begin(10), [1, 2]);
        let free = aside.end(in_vain(&[(2, [2, 102])]));

        assert_eq!(free, [3, 4], "record 1 is free");
        assert_eq!(aside.len(), 2);
        assert_eq!(aside.begin(10), [2]);
        assert_eq!(aside.end(Vec::new()), [5]);
        assert_eq!(aside.len(), 0);
    }

    #[test]
    fn what_shares_an_id_waits_and_so_does_what_is_for_its_record() {
        let mut aside = aside(&[
            (1, [1, 101], LOCKED),
            (2, [2, 101], BEHIND),
            (3, [2, 102], BEHIND),
        ]);

        assert!(aside.share([3, 101]) && aside.share([2, 103]));
        assert!(!aside.share([3, 103]));
        assert_eq!(aside.begin(10), [1]);
        assert!(aside.end(in_vain(&[(1, [1, 101])])).is_empty());
        assert_eq!(aside.begin(10), [1]);
        assert_eq!(aside.end(Vec::new()), [2, 3]);
    }

    #[test]
    fn what_is_being_tried_still_holds_back_what_comes() {
        let mut aside = aside(&[(1, [1, 101], LOCKED)]);

        aside.begin(10);
        assert!(aside.share([1, 102]));
        aside.push(2, [1, 102], 2, BEHIND);
        assert_eq!(aside.len(), 2);
        assert!(aside.end(in_vain(&[(1, [1, 101])])).is_empty());
        assert_eq!(aside.begin(10), [1]);
        assert_eq!(aside.end(Vec::new()), [2]);
        assert!(!aside.share([1, 103]));
    }

    #[test]
    fn what_is_found_locked_while_others_are_tried_stays_and_so_does_what_is_behind_it() {
        let mut aside = aside(&[(1, [1, 101], LOCKED)]);

        assert_eq!(aside.begin(10), [1]);
        aside.push(2, [2, 102], 2, LOCKED);
        aside.push(3, [2, 103], 3, BEHIND);
        aside.push(4, [1, 104], 4, BEHIND);

        assert_eq!(aside.end(Vec::new()), [4]);
        assert!(aside.share([2, 105]));
        assert_eq!(aside.begin(10), [2]);
        assert_eq!(aside.end(Vec::new()), [3]);
        assert_eq!(aside.len(), 0);
    }

    #[test]
    fn what_stood_behind_a_locked_one_of_its_batch_needs_no_try_of_its_own() {
        let mut aside = aside(&[
            (1, [1, 101], LOCKED),
            (2, [1, 102], LOCKED),
            (3, [1, 103], LOCKED),
        ]);

        assert_eq!(aside.begin(10), [1]);
        assert_eq!(aside.end(Vec::new()), [2, 3]);
    }

    #[test]
    fn what_was_delivered_first_is_tried_first_whenever_it_was_set_aside() {
        // 3 came while 2 was in a batch, and waits behind 1, by its id. Then 2 was found locked.
        let mut aside = aside(&[
            (1, [1, 101], LOCKED),
            (3, [2, 101], BEHIND),
            (2, [2, 102], LOCKED),
        ]);

        assert_eq!(aside.begin(10), [1, 2]);
        assert!(aside.end(in_vain(&[(2, [2, 102])])).is_empty());
        assert_eq!(aside.begin(10), [2]);
        assert_eq!(aside.end(Vec::new()), [3]);
    }

    #[test]
    fn what_is_too_much_for_one_try_stays_and_has_its_turn() {
        let mut aside = aside(&[
            (1, [1, 101], LOCKED),
            (2, [2, 102], LOCKED),
            (3, [2, 103], BEHIND),
        ]);

        assert_eq!(aside.begin(1), [1]);
        assert!(aside.end(in_vain(&[(1, [1, 101])])).is_empty());
        assert_eq!(aside.begin(1), [2], "the first was tried in vain");
        assert_eq!(aside.end(Vec::new()), [3]);
        assert_eq!(aside.begin(1), [1]);
    }
}
