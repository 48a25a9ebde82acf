//! Commands that wait for a locked record, and the commands that have to wait behind them.
//!
//! Two commands with the same record or the same command id must be applied in their order. So a command that
//! shares one of them with a waiting command waits, too:
//!
//! ```text
//! Waiting { found_locked: true }  ── start_attempt ──▶ attempted ── outcome ──▶ (removed)
//!                                                          └── still locked ──▶ Waiting { found_locked: true }
//! Waiting { found_locked: false } ── no earlier command shares a key ──▶ (free: back to the batcher)
//! ```

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use crate::change::Change;

/// Hashes of a command's record and of its id. A collision of two hashes only makes a command wait
/// unnecessarily.
pub(crate) type KeyHashes = [u64; 2];

/// The hashes of a change's record and id.
pub(crate) fn key_hashes(hasher: &RandomState, change: &Change) -> KeyHashes {
    let key = change.command.key();
    let id = (&key.catalog_guid, &change.command_id);
    [hasher.hash_one(key), hasher.hash_one(id)]
}

/// The commands of a session that wait, in the order of delivery.
pub(crate) struct LockedCommands<T> {
    /// The commands that are not in the current attempt.
    waiting: VecDeque<Waiting<T>>,
    /// The number of commands in the current attempt.
    in_attempt: usize,
    /// The number of attempts so far.
    attempts: u64,
    /// The hashes of all commands that wait or are in the current attempt.
    hashes: HashSet<u64>,
}

struct Waiting<T> {
    /// The tag of the command's delivery.
    tag: u64,
    hashes: KeyHashes,
    command: T,
    /// Whether the command's own record was locked. If not, it only waits for earlier commands.
    found_locked: bool,
    /// The last attempt that the command was in, counted from 1; 0 if it was in none.
    last_attempt: u64,
}

impl<T> Default for LockedCommands<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            in_attempt: 0,
            attempts: 0,
            hashes: HashSet::new(),
        }
    }
}

impl<T> LockedCommands<T> {
    /// The number of commands that wait or are in the current attempt.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.in_attempt
    }

    /// Whether a command with these hashes has to wait behind one of these commands.
    pub fn overlaps(&self, hashes: KeyHashes) -> bool {
        hashes.iter().any(|hash| self.hashes.contains(hash))
    }

    /// Adds a command at its position in the order of delivery. `found_locked`: a batch could not apply it,
    /// because its record was locked, or because it came after a locked command in that batch.
    pub fn push(&mut self, tag: u64, hashes: KeyHashes, command: T, found_locked: bool) {
        let mut earlier = self.waiting.iter().take_while(|other| other.tag < tag);
        // If several commands of a batch share a record, only the first one was found locked. The others are
        // free as soon as the first one has an outcome.
        let found_locked = found_locked
            && !earlier.any(|other| other.hashes.iter().any(|hash| hashes.contains(hash)));
        self.insert(Waiting {
            tag,
            hashes,
            command,
            found_locked,
            last_attempt: 0,
        });
    }

    fn insert(&mut self, command: Waiting<T>) {
        self.hashes.extend(command.hashes);
        let position = self
            .waiting
            .partition_point(|other| other.tag < command.tag);
        self.waiting.insert(position, command);
    }

    /// The commands that are not in the current attempt.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().map(|waiting| &waiting.command)
    }

    /// Starts an attempt: returns the commands that wait behind no other command, at most `limit`. If there
    /// are more, those whose last attempt is the longest ago come first.
    pub fn start_attempt(&mut self, limit: usize) -> Vec<T> {
        let mut seen: HashSet<u64> = HashSet::new();
        let mut first = Vec::new();
        for waiting in &self.waiting {
            if !waiting.hashes.iter().any(|hash| seen.contains(hash)) {
                first.push((waiting.last_attempt, waiting.tag));
            }
            seen.extend(waiting.hashes);
        }
        first.sort_unstable();
        first.truncate(limit);
        let tags: HashSet<u64> = first.into_iter().map(|(_, tag)| tag).collect();
        let (first, others): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| tags.contains(&waiting.tag));
        self.waiting = others;
        self.in_attempt = first.len();
        self.attempts += 1;
        first.into_iter().map(|waiting| waiting.command).collect()
    }

    /// Ends an attempt. Takes back the commands whose records are still locked. Returns the commands that no
    /// longer have to wait, in the order of delivery.
    pub fn finish_attempt(&mut self, still_locked: Vec<(u64, KeyHashes, T)>) -> Vec<T> {
        self.in_attempt = 0;
        for (tag, hashes, command) in still_locked {
            self.insert(Waiting {
                tag,
                hashes,
                command,
                found_locked: true,
                last_attempt: self.attempts,
            });
        }
        self.hashes.clear();
        let mut free = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.found_locked || self.overlaps(waiting.hashes) {
                self.hashes.extend(waiting.hashes);
                self.waiting.push_back(waiting);
            } else {
                free.push(waiting.command);
            }
        }
        free
    }
}

#[cfg(test)]
mod tests;
