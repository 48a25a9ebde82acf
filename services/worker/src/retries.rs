//! Tries commands again whose records are locked, beside the batches of all others.

use std::{
    hash::RandomState,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::sleep_until;

use crate::{
    consumer::Parts,
    set_aside::{Hashes, SetAside, hashes},
    settle::{self, Decided, Taken},
    store::Lane,
};

/// Between two tries. A try waits for the lock for as long as any statement.
const PAUSE: Duration = Duration::from_millis(200);
/// Commands in one try.
const MOST: usize = 200;

/// The commands of a session that wait, and the connection that tries them.
pub(crate) struct Retries<'a> {
    parts: &'a Parts,
    aside: SetAside<Taken>,
    lane: Option<Lane>,
    trying: Option<LocalBoxFuture<'a, (Lane, Decided)>>,
    /// When the oldest command of the try was published, until [`Retries::end`].
    tried_oldest: Option<u64>,
    /// When the next try may begin.
    due: Instant,
    hasher: RandomState,
}

impl<'a> Retries<'a> {
    pub fn new(parts: &'a Parts) -> Self {
        Self {
            parts,
            aside: SetAside::default(),
            lane: None,
            trying: None,
            tried_oldest: None,
            due: Instant::now(),
            hasher: RandomState::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.aside.len() == 0
    }

    /// Whether a command has to wait behind one of these.
    pub fn share(&self, taken: &Taken) -> bool {
        !self.is_empty()
            && self
                .hashes(taken)
                .is_some_and(|hashes| self.aside.share(hashes))
    }

    /// None of what is refused anyway.
    fn hashes(&self, taken: &Taken) -> Option<Hashes> {
        Some(hashes(&self.hasher, taken.change()?))
    }

    /// Adds one, as [`SetAside::push`].
    pub fn push(&mut self, taken: Taken, locked: bool) {
        if self.is_empty() {
            self.due = Instant::now() + PAUSE;
        }
        let hashes = self.hashes(&taken).unwrap_or_default();
        self.aside.push(taken.tag(), hashes, taken, locked);
    }

    /// When the oldest of all these was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.aside.waiting().map(Taken::published);
        waiting.chain(self.tried_oldest).min()
    }

    /// What was tried, as soon as it is known how far it came. None where nothing waits.
    pub async fn next(&mut self) -> Option<Decided> {
        if self.trying.is_none() {
            if self.is_empty() {
                return None;
            }
            sleep_until(self.due.into()).await;
            self.begin();
        }
        self.finish().await
    }

    fn begin(&mut self) {
        let parts = self.parts;
        let batch = self.aside.begin(MOST);
        self.tried_oldest = batch.iter().map(Taken::published).min();
        let mut lane = self.lane.take().unwrap_or_else(|| parts.store.lane());
        let trying = async move {
            let decided = settle::decide(parts, &mut lane, batch).await;
            (lane, decided)
        };
        self.trying = Some(trying.boxed_local());
    }

    /// As [`Retries::next`], but nothing more is tried.
    pub async fn finish(&mut self) -> Option<Decided> {
        let (lane, decided) = self.trying.as_mut()?.await;
        self.trying = None;
        self.lane = Some(lane);
        self.due = Instant::now() + PAUSE;
        Some(decided)
    }

    /// Takes back what was tried in vain. Gives out what waits no longer, in the order of delivery.
    pub fn end(&mut self, in_vain: Vec<Taken>) -> Vec<Taken> {
        let entry = |taken: Taken| {
            let hashes = self.hashes(&taken).unwrap_or_default();
            (taken.tag(), hashes, taken)
        };
        let in_vain = in_vain.into_iter().map(entry).collect();
        self.tried_oldest = None;
        self.aside.end(in_vain)
    }
}
