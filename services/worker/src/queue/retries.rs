//! Tries commands again whose records are locked, beside the batches of all others.

use std::{
    hash::RandomState,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::sleep_until;

use super::{
    batch::{Batch, ProcessedBatch},
    context::Context,
    incoming::Incoming,
    set_aside::{Hashes, SetAside, hashes},
};
use crate::store::Writers;

/// Pause between two tries. A try waits for the lock for as long as any statement.
const PAUSE: Duration = Duration::from_millis(200);
/// The most commands in one try.
const MAX_TRIED: usize = 200;

/// The commands of a session that wait for locked records, and the connection that tries them.
pub(super) struct Retries<'a> {
    context: &'a Context,
    aside: SetAside<Incoming>,
    writers: Option<Writers>,
    trying: Option<LocalBoxFuture<'a, (Writers, ProcessedBatch)>>,
    /// When the oldest command of the try was published, until [`Retries::end`].
    tried_oldest: Option<u64>,
    /// When the next try may begin.
    due: Instant,
    hasher: RandomState,
}

impl<'a> Retries<'a> {
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            aside: SetAside::default(),
            writers: None,
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
    pub fn must_wait(&self, incoming: &Incoming) -> bool {
        !self.is_empty() && self.aside.share(self.hashes(incoming))
    }

    fn hashes(&self, incoming: &Incoming) -> Hashes {
        hashes(&self.hasher, &incoming.change)
    }

    /// Adds a command, as [`SetAside::push`].
    pub fn push(&mut self, incoming: Incoming, locked: bool) {
        if self.is_empty() {
            self.due = Instant::now() + PAUSE;
        }
        let (tag, hashes) = (incoming.tag, self.hashes(&incoming));
        self.aside.push(tag, hashes, incoming, locked);
    }

    /// When the oldest of all these was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.aside.waiting().map(Incoming::published);
        waiting.chain(self.tried_oldest).min()
    }

    /// What was tried, as soon as it is known how far it came. `None` where nothing waits.
    pub async fn next(&mut self) -> Option<ProcessedBatch> {
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
        let context = self.context;
        let batch = Batch::new(self.aside.begin(MAX_TRIED), &context.traces);
        self.tried_oldest = batch.oldest();
        let mut writers = self
            .writers
            .take()
            .unwrap_or_else(|| context.store.writers());
        let trying = async move {
            let processed = batch.process(&mut writers, &context.stop).await;
            (writers, processed)
        };
        self.trying = Some(trying.boxed_local());
    }

    /// As [`Retries::next`], but nothing more is tried.
    pub async fn finish(&mut self) -> Option<ProcessedBatch> {
        let (writers, processed) = self.trying.as_mut()?.await;
        self.trying = None;
        self.writers = Some(writers);
        self.due = Instant::now() + PAUSE;
        Some(processed)
    }

    /// Takes back what was tried in vain. Returns what waits no longer, in the order of delivery.
    pub fn end(&mut self, in_vain: Vec<Incoming>) -> Vec<Incoming> {
        let entry = |incoming: Incoming| (incoming.tag, self.hashes(&incoming), incoming);
        let in_vain = in_vain.into_iter().map(entry).collect();
        self.tried_oldest = None;
        self.aside.end(in_vain)
    }
}
