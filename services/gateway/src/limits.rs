//! Limits what one bearer, and all bearers together, may use of the gateway.
//!
//! A bearer is one subject in one Space.

mod answers;
mod args;
mod shares;

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::{
    answers::{AnswerBudget, Denied},
    args::LimitArgs,
    shares::{Full, Share, Shares},
};
use crate::auth::caller::Caller;

/// How often rate limiters forget the bearers whose burst is full again.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(1);

/// The maximum number of WebSockets that have not sent a token yet.
const MAX_UNAUTHENTICATED_SOCKETS: usize = 128;
/// One bearer may use a quarter of the memory for bodies, and a quarter of that for answers.
const BEARER_FRACTION: usize = 4;

/// The cost of a document, which counts against the rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// The number of saves and deletions.
    Saves(u32),
    /// The number of reads.
    Reads(u32),
}

/// The bearer exceeds a rate limit.
#[derive(Debug, Clone, Copy)]
pub struct RateLimited {
    /// After this time the same request is within the limit.
    pub retry_after: Duration,
}

type Limiter = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock, NoOpMiddleware>;

/// The state of all limits.
#[derive(Debug)]
pub struct Limits {
    requests: Limiter,
    saves: Limiter,
    reads: Limiter,
    reads_burst: u32,
    in_flight: Shares,
    bodies: Shares,
    answers: Shares,
    subscriptions: Shares,
    sockets: Shares,
    unauthenticated_sockets: Arc<Semaphore>,
    /// Hashes bearers with a random key. Two bearers with the same hash share their limits, so a client
    /// must not be able to compute one.
    bearer_hasher: RandomState,
}

impl Limits {
    /// Creates the limits with nothing used, and starts the cleanup of the rate limiters.
    #[must_use]
    pub fn new(args: &LimitArgs) -> Arc<Self> {
        let limiter = |per_second, burst| {
            RateLimiter::hashmap(Quota::per_second(per_second).allow_burst(burst))
        };
        let per_bearer = args.max_subscriptions_per_bearer;
        let memory = |bytes: usize| Shares::new(bytes, bytes / BEARER_FRACTION);
        let limits = Arc::new(Self {
            requests: limiter(args.requests_per_second, args.requests_burst),
            saves: limiter(args.saves_per_second, args.saves_burst),
            reads: limiter(args.reads_per_second, args.reads_burst),
            reads_burst: args.reads_burst.get(),
            in_flight: Shares::new(args.max_in_flight, args.max_in_flight_per_bearer),
            bodies: memory(args.max_bodies_bytes),
            answers: memory(args.max_answers_bytes),
            subscriptions: Shares::new(args.max_subscriptions, per_bearer),
            sockets: Shares::new(args.max_sockets, per_bearer),
            unauthenticated_sockets: Arc::new(Semaphore::new(MAX_UNAUTHENTICATED_SOCKETS)),
            bearer_hasher: RandomState::new(),
        });
        tokio::spawn(clean_up(Arc::downgrade(&limits)));
        limits
    }

    /// Counts a request in progress until the share is dropped.
    ///
    /// # Errors
    /// The limit of this bearer or of all bearers is reached.
    pub fn enter(&self, caller: &Caller) -> Result<Share, Full> {
        self.in_flight.take(self.bearer(caller), 1)
    }

    /// An empty share for the body of a request. It must grow as the body is read.
    ///
    /// # Errors
    /// None, because the share is empty.
    pub fn body(&self, caller: &Caller) -> Result<Share, Full> {
        self.bodies.take(self.bearer(caller), 0)
    }

    /// The memory for the records in one answer.
    #[must_use]
    pub fn answer(&self, caller: &Caller, max_bytes: usize) -> AnswerBudget {
        AnswerBudget::new(self.answers.clone(), self.bearer(caller), max_bytes)
    }

    /// Counts open subscriptions until the share is dropped.
    ///
    /// # Errors
    /// The limit of this bearer or of all bearers is reached.
    pub fn subscribe(&self, caller: &Caller, count: usize) -> Result<Share, Full> {
        self.subscriptions.take(self.bearer(caller), count)
    }

    /// Counts a WebSocket with a valid token until the share is dropped.
    ///
    /// # Errors
    /// The limit of this bearer or of all bearers is reached.
    pub fn socket(&self, caller: &Caller) -> Result<Share, Full> {
        self.sockets.take(self.bearer(caller), 1)
    }

    /// Counts a WebSocket that has not sent a token yet, until the permit is dropped. `None` if the limit
    /// is reached.
    #[must_use]
    pub fn unauthenticated_socket(&self) -> Option<OwnedSemaphorePermit> {
        let permits = self.unauthenticated_sockets.clone();
        permits.try_acquire_owned().ok()
    }

    /// The number of open subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.taken()
    }

    /// The number of requests in progress.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.taken()
    }

    /// Counts a request against the rate of requests, before its document is read.
    ///
    /// # Errors
    /// The rate is exceeded. The request was not counted.
    pub fn request(&self, caller: &Caller) -> Result<(), RateLimited> {
        self.count(&self.requests, caller, 1)
    }

    /// The maximum number of reads in a document. A document with more could never be charged.
    #[must_use]
    pub fn max_reads(&self) -> u32 {
        self.reads_burst
    }

    /// Counts the cost of a document against the rates of saves and reads.
    ///
    /// # Errors
    /// The rate is exceeded. Nothing was counted.
    pub fn charge(&self, caller: &Caller, cost: Cost) -> Result<(), RateLimited> {
        match cost {
            Cost::Saves(count) => self.count(&self.saves, caller, count),
            Cost::Reads(count) => self.count(&self.reads, caller, count),
        }
    }

    fn count(&self, limiter: &Limiter, caller: &Caller, count: u32) -> Result<(), RateLimited> {
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        match limiter.check_key_n(&self.bearer(caller), count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(RateLimited {
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
            // The cost is larger than the burst. This does not happen: the configuration makes sure of it
            // for saves, and documents with so many reads were rejected before.
            Err(_) => Err(RateLimited {
                retry_after: CLEANUP_INTERVAL,
            }),
        }
    }

    fn bearer(&self, caller: &Caller) -> u64 {
        self.bearer_hasher
            .hash_one((&caller.space, &caller.subject))
    }
}

/// Removes inactive bearers from the rate limiters, for as long as the limits exist.
async fn clean_up(limits: std::sync::Weak<Limits>) {
    loop {
        tokio::time::sleep(CLEANUP_INTERVAL).await;
        let Some(limits) = limits.upgrade() else {
            return;
        };
        for limiter in [&limits.requests, &limits.saves, &limits.reads] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;
