//! Tries commands again whose records are locked, beside the batches of all others.

use std::{
    hash::RandomState,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::sleep_until;

use crate::{
    consumer::Parts,
    lanes::names,
    set_aside::{Names, SetAside},
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
                .names(taken)
                .is_some_and(|names| self.aside.share(names))
    }

    /// None of what is refused anyway.
    fn names(&self, taken: &Taken) -> Option<Names> {
        Some(names(&self.hasher, taken.change()?))
    }

    /// Adds one behind all others.
    pub fn push(&mut self, taken: Taken) {
        if self.is_empty() {
            self.due = Instant::now() + PAUSE;
        }
        self.aside
            .push(self.names(&taken).unwrap_or_default(), taken);
    }

    /// When the oldest of those that are not being tried was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        self.aside.waiting().map(Taken::published).min()
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

    /// Takes back what was tried in vain. Gives out what waits no longer, in its order.
    pub fn end(&mut self, in_vain: Vec<Taken>) -> Vec<Taken> {
        let name = |taken| (self.names(&taken).unwrap_or_default(), taken);
        let in_vain = in_vain.into_iter().map(name).collect();
        self.aside.end(in_vain)
    }
}
