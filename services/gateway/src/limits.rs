//! How much of the gateway one bearer, one document and everyone together may have.

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

use crate::schema::Caller;

/// Between two looks for bearers who have not asked for so long that they are as good as new.
const FORGET: Duration = Duration::from_mins(1);

/// What each bearer may do, and all of them at once. Every setting is described by what happens
/// when it is too high or too low.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Saves a second that a subject may send to a Space, in the long run. Higher: one bearer can
    /// fill the queue for all. Lower: people who save a whole pack at once are refused with
    /// RATE_LIMITED (429).
    #[arg(long, env = "SAVES_PER_SECOND", default_value = "20")]
    pub saves_per_second: NonZeroU32,

    /// Saves that may come at once before that rate counts. At least MAX_SAVES, or a document that
    /// is allowed could never be sent.
    #[arg(long, env = "SAVES_BURST", default_value = "100")]
    pub saves_burst: NonZeroU32,

    /// Reads a second that a subject may send to a Space, in the long run; a document that is no
    /// good counts as one, too. Higher: one bearer can keep the database busy. Lower: pages that
    /// show many connectors are refused with RATE_LIMITED (429).
    #[arg(long, env = "READS_PER_SECOND", default_value = "50")]
    pub reads_per_second: NonZeroU32,

    /// Reads that may come at once before that rate counts.
    #[arg(long, env = "READS_BURST", default_value = "200")]
    pub reads_burst: NonZeroU32,

    /// Requests that are worked on at once; one more is refused at once with SERVICE_UNAVAILABLE
    /// (503). Higher: each may hold a body of MAX_BODY_BYTES in memory. Lower: saves are refused
    /// that the queue would have taken.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 1024)]
    pub max_in_flight: usize,

    /// Subscriptions that are open at once; one more is refused. Each takes a few KiB and a connection.
    #[arg(long, env = "MAX_SUBSCRIPTIONS", default_value_t = 1000)]
    pub max_subscriptions: usize,
}

/// What a document asks for, and is charged for.
#[derive(Debug, Clone, Copy)]
pub enum Charge {
    /// So many saves.
    Saves(u32),
    /// So many reads.
    Reads(u32),
}

/// A bearer who asked too often, and how long nothing more will be given.
#[derive(Debug, Clone, Copy)]
pub struct RateLimited {
    /// Until the same request would be let in.
    pub retry_after: Duration,
}

type Limiter = RateLimiter<u64, HashMapStateStore<u64>, DefaultClock, NoOpMiddleware>;

/// Keeps the count.
#[derive(Debug)]
pub struct Limits {
    saves: Limiter,
    reads: Limiter,
    in_flight: Arc<Semaphore>,
    most_in_flight: usize,
    subscriptions: Arc<Semaphore>,
    most_subscriptions: usize,
    /// Bearers are known by a hash that nobody outside can compute: two that share one share a
    /// rate, and none can be chosen to.
    bearers: RandomState,
}

impl Limits {
    /// Starts with everything allowed.
    #[must_use]
    pub fn new(args: &LimitArgs) -> Arc<Self> {
        let limiter = |per_second, burst| {
            RateLimiter::hashmap(Quota::per_second(per_second).allow_burst(burst))
        };
        let limits = Arc::new(Self {
            saves: limiter(args.saves_per_second, args.saves_burst),
            reads: limiter(args.reads_per_second, args.reads_burst),
            in_flight: Arc::new(Semaphore::new(args.max_in_flight)),
            most_in_flight: args.max_in_flight,
            subscriptions: Arc::new(Semaphore::new(args.max_subscriptions)),
            most_subscriptions: args.max_subscriptions,
            bearers: RandomState::new(),
        });
        tokio::spawn(forget(Arc::downgrade(&limits)));
        limits
    }

    /// A place among the requests in work, given back when it is dropped; none where all are taken.
    #[must_use]
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.in_flight.clone().try_acquire_owned().ok()
    }

    /// A place among the subscriptions, given back when it is dropped; none where all are taken.
    #[must_use]
    pub fn subscribe(&self) -> Option<OwnedSemaphorePermit> {
        self.subscriptions.clone().try_acquire_owned().ok()
    }

    /// How many subscriptions are open.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.most_subscriptions - self.subscriptions.available_permits()
    }

    /// How many requests are in work.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.most_in_flight - self.in_flight.available_permits()
    }

    /// Counts what a bearer asks for.
    ///
    /// # Errors
    /// It is too much. Nothing of it was counted.
    pub fn charge(&self, caller: &Caller, charge: Charge) -> Result<(), RateLimited> {
        let (limiter, count) = match charge {
            Charge::Saves(count) => (&self.saves, count),
            Charge::Reads(count) => (&self.reads, count),
        };
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        let bearer = self.bearers.hash_one((&caller.space, &caller.subject));
        match limiter.check_key_n(&bearer, count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(RateLimited {
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
            // More than the burst, which the configuration does not let a document ask for.
            Err(_) => Err(RateLimited {
                retry_after: FORGET,
            }),
        }
    }
}

/// Drops the bearers who have long been still, until nobody counts any more.
async fn forget(limits: std::sync::Weak<Limits>) {
    loop {
        tokio::time::sleep(FORGET).await;
        let Some(limits) = limits.upgrade() else {
            return;
        };
        for limiter in [&limits.saves, &limits.reads] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}
