//! The batches that the database has at the moment.
//!
//! One connection keeps one processor of the database busy, so there are two. Batches that are in
//! the database at the same time share neither a record nor a command id, so that it does not matter
//! which commits first; and the one that was begun first is handed out first, so that deliveries
//! can be acknowledged in a row.

use std::{
    collections::{HashSet, VecDeque},
    hash::RandomState,
};

use futures_util::{
    FutureExt as _, StreamExt as _, future::LocalBoxFuture, stream::FuturesOrdered,
};

use crate::{
    consumer::Parts,
    set_aside::hashes,
    settle::{self, Decided, Taken},
    store::Lane,
};

const LANES: usize = 2;

/// The connections and what they have.
pub(crate) struct Lanes<'a> {
    parts: &'a Parts,
    /// Opened when there was none.
    idle: Vec<Lane>,
    deciding: FuturesOrdered<LocalBoxFuture<'a, (Lane, Decided)>>,
    /// As many as are being decided, in the same order.
    begun: VecDeque<Begun>,
    /// When the oldest command was published that is set aside, in seconds since 1970.
    oldest_aside: Option<u64>,
    hasher: RandomState,
}

/// What has to be known of a batch while the database has it.
struct Begun {
    /// Hashes of its records and ids. Two names with the same hash cost a wait.
    hashes: HashSet<u64>,
    /// Whether nothing may be begun beside it.
    alone: bool,
    /// When its oldest command was published, in seconds since 1970.
    oldest: Option<u64>,
}

impl<'a> Lanes<'a> {
    pub fn new(parts: &'a Parts) -> Self {
        Self {
            parts,
            idle: Vec::new(),
            deciding: FuturesOrdered::new(),
            begun: VecDeque::new(),
            oldest_aside: None,
            hasher: RandomState::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    pub fn has_room(&self) -> bool {
        self.begun.len() < LANES && self.begun.iter().all(|batch| !batch.alone)
    }

    /// Whether a batch with this command would share something with one that was begun.
    pub fn share(&self, taken: &Taken) -> bool {
        let hashes = taken.change().map(|change| hashes(&self.hasher, change));
        let mut hashes = hashes.into_iter().flatten();
        hashes.any(|hash| self.begun.iter().any(|batch| batch.hashes.contains(&hash)))
    }

    /// Begins a batch, for which there is room and which shares nothing with another.
    pub fn begin(&mut self, batch: Vec<Taken>) {
        let changes = batch.iter().filter_map(Taken::change);
        self.begun.push_back(Begun {
            hashes: changes
                .flat_map(|change| hashes(&self.hasher, change))
                .collect(),
            alone: batch.iter().any(Taken::is_redelivered),
            oldest: batch.iter().map(Taken::published).min(),
        });
        self.tell_oldest();
        let parts = self.parts;
        let mut lane = self.idle.pop().unwrap_or_else(|| parts.store.lane());
        let deciding = async move {
            let decided = settle::decide(parts, &mut lane, batch).await;
            (lane, decided)
        };
        self.deciding.push_back(deciding.boxed_local());
    }

    /// The batch that was begun first, as soon as it is decided. None where none was begun.
    pub async fn next(&mut self) -> Option<Decided> {
        let (lane, decided) = self.deciding.next().await?;
        self.idle.push(lane);
        self.begun.pop_front();
        self.tell_oldest();
        Some(decided)
    }

    /// Those that are set aside are in hand, too.
    pub fn set_oldest_aside(&mut self, published: Option<u64>) {
        self.oldest_aside = published;
        self.tell_oldest();
    }

    fn tell_oldest(&self) {
        let begun = self.begun.iter().filter_map(|batch| batch.oldest);
        self.parts.oldest.tell(begun.chain(self.oldest_aside).min());
    }
}
