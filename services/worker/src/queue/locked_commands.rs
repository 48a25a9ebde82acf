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
//!
//! A command that went back to the broker before has a reserved place: others wait behind it until it arrives.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use proto::{CommandId, RecordKey};

/// Hashes of a command's record and of its id. A collision of two hashes only makes a command wait
/// unnecessarily.
pub(crate) type KeyHashes = [u64; 2];

/// The hashes of a command's record and id.
pub(crate) fn key_hashes(
    hasher: &RandomState,
    key: &RecordKey,
    command_id: &CommandId,
) -> KeyHashes {
    let id = (&key.catalog_guid, command_id);
    [hasher.hash_one(key), hasher.hash_one(id)]
}

/// The commands of a session that wait, in their order.
pub(crate) struct LockedCommands<T> {
    /// The commands that are not in the current attempt.
    waiting: VecDeque<Waiting<T>>,
    /// The number of commands in the current attempt.
    in_attempt: usize,
    /// The number of attempts so far.
    attempts: u64,
    /// The hashes of all commands that wait or are in the current attempt, each with the first of their positions.
    hashes: HashMap<u64, u64>,
}

struct Waiting<T> {
    /// The command's position in the order of the queue.
    order: u64,
    hashes: KeyHashes,
    /// `None`: the place is reserved for a command that has not arrived.
    command: Option<T>,
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
            hashes: HashMap::new(),
        }
    }
}

impl<T> LockedCommands<T> {
    /// Whether no command waits or is in the current attempt, and no place is reserved.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_attempt == 0
    }

    /// Reserves places for commands that have not arrived. `commands` are in their order, which is before that
    /// of all commands that have no reserved place.
    pub fn reserve(&mut self, commands: impl IntoIterator<Item = KeyHashes>) {
        for (order, hashes) in (0..).zip(commands) {
            self.insert(Waiting {
                order,
                hashes,
                command: None,
                found_locked: false,
                last_attempt: 0,
            });
        }
    }

    /// Ends all reservations. The commands behind them are free after the next attempt.
    pub fn release_reserved(&mut self) {
        self.waiting.retain(|waiting| waiting.command.is_some());
        if self.is_empty() {
            self.hashes.clear();
        }
    }

    /// Takes the place that is reserved for the command with these hashes, and returns its position.
    pub fn take_reserved(&mut self, hashes: KeyHashes) -> Option<u64> {
        let is_reserved = |other: &Waiting<T>| other.command.is_none() && other.hashes == hashes;
        let index = self.waiting.iter().position(is_reserved)?;
        let reserved = self.waiting.remove(index)?;
        Some(reserved.order)
    }

    /// Whether a command with this position and these hashes has to wait behind one of these commands.
    pub fn overlaps(&self, order: u64, hashes: KeyHashes) -> bool {
        let is_later = |first: &u64| *first < order;
        hashes
            .iter()
            .any(|hash| self.hashes.get(hash).is_some_and(is_later))
    }

    fn add_hashes(&mut self, order: u64, hashes: KeyHashes) {
        for hash in hashes {
            let first = self.hashes.entry(hash).or_insert(order);
            *first = order.min(*first);
        }
    }

    /// Adds a command at its position in the order. `found_locked`: a batch could not apply it,
    /// because its record was locked, or because it came after a locked command in that batch.
    pub fn push(&mut self, order: u64, hashes: KeyHashes, command: T, found_locked: bool) {
        let mut earlier = self.waiting.iter().take_while(|other| other.order < order);
        // If several commands of a batch share a record, only the first one was found locked. The others are
        // free as soon as the first one has an outcome.
        let found_locked = found_locked
            && !earlier.any(|other| other.hashes.iter().any(|hash| hashes.contains(hash)));
        self.insert(Waiting {
            order,
            hashes,
            command: Some(command),
            found_locked,
            last_attempt: 0,
        });
    }

    fn insert(&mut self, command: Waiting<T>) {
        self.add_hashes(command.order, command.hashes);
        let position = self
            .waiting
            .partition_point(|other| other.order < command.order);
        self.waiting.insert(position, command);
    }

    /// The commands that are not in the current attempt.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.waiting.iter().filter_map(|it| it.command.as_ref())
    }

    /// Starts an attempt: returns the commands that wait behind no other command, at most `limit`. If there
    /// are more, those whose last attempt is the longest ago come first.
    pub fn start_attempt(&mut self, limit: usize) -> Vec<T> {
        let mut seen: HashSet<u64> = HashSet::new();
        let mut first = Vec::new();
        for waiting in &self.waiting {
            let is_first = !waiting.hashes.iter().any(|hash| seen.contains(hash));
            if is_first && waiting.command.is_some() {
                first.push((waiting.last_attempt, waiting.order));
            }
            seen.extend(waiting.hashes);
        }
        first.sort_unstable();
        first.truncate(limit);
        let first: HashSet<u64> = first.into_iter().map(|(_, order)| order).collect();
        let (first, others): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| first.contains(&waiting.order));
        self.waiting = others;
        self.in_attempt = first.len();
        self.attempts += 1;
        first.into_iter().filter_map(|it| it.command).collect()
    }

    /// Ends an attempt. Takes back the commands whose records are still locked. Returns the commands that no
    /// longer have to wait, in their order.
    pub fn finish_attempt(&mut self, still_locked: Vec<(u64, KeyHashes, T)>) -> Vec<T> {
        self.in_attempt = 0;
        for (order, hashes, command) in still_locked {
            self.insert(Waiting {
                order,
                hashes,
                command: Some(command),
                found_locked: true,
                last_attempt: self.attempts,
            });
        }
        self.hashes.clear();
        let mut free = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let must_wait = waiting.found_locked || self.overlaps(waiting.order, waiting.hashes);
            match waiting.command {
                Some(command) if !must_wait => free.push(command),
                _ => {
                    self.add_hashes(waiting.order, waiting.hashes);
                    self.waiting.push_back(waiting);
                }
            }
        }
        free
    }
}

#[cfg(test)]
mod tests;
