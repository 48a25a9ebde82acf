//! How much of the gateway one bearer, one document and everyone together may have.

mod answers;
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
    shares::{Full, Share, Shares},
};
use crate::auth::caller::Caller;

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

    /// Requests a second that a subject may send to a Space, in the long run, whatever they ask for;
    /// each is counted before its body is read. Higher: one bearer can keep a processor busy with
    /// requests that are refused. Lower than SAVES_PER_SECOND and READS_PER_SECOND together: those are
    /// never reached.
    #[arg(long, env = "REQUESTS_PER_SECOND", default_value = "100")]
    pub requests_per_second: NonZeroU32,

    /// Requests that may come at once before that rate counts. Lower than SAVES_BURST and
    /// READS_BURST together: those are never reached.
    #[arg(long, env = "REQUESTS_BURST", default_value = "400")]
    pub requests_burst: NonZeroU32,

    /// Requests that are worked on at once, from when their body is there; one more is refused at
    /// once with SERVICE_UNAVAILABLE (503). Higher: the memory for them grows. Lower: saves are
    /// refused that the queue would have taken.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 1024)]
    pub max_in_flight: usize,

    /// How many of them may be of one subject in one Space; one more is refused with RATE_LIMITED
    /// (429). As many as MAX_IN_FLIGHT: one bearer can keep all others out. Lower: whoever saves for
    /// many people with one token is refused.
    #[arg(long, env = "MAX_IN_FLIGHT_PER_BEARER", default_value_t = 512)]
    pub max_in_flight_per_bearer: usize,

    /// How many bytes all bodies that were read, and are not answered yet, may have; one more is
    /// refused with SERVICE_UNAVAILABLE (503). One subject in one Space may have a quarter of it, and
    /// is refused with RATE_LIMITED (429). Higher: a parsed body takes about three times its bytes of
    /// memory. Lower than four times MAX_BODY_BYTES: the largest body is always refused.
    #[arg(long, env = "MAX_BODIES_BYTES", default_value_t = 128 * 1024 * 1024)]
    pub max_bodies_bytes: usize,

    /// How many bytes of records all answers that are not sent yet may have, beyond 64 KiB each; a
    /// larger answer more is refused with SERVICE_UNAVAILABLE (503). One subject in one Space may
    /// have a quarter of it. Higher: clients that read slowly keep more memory. Lower than four times
    /// MAX_ANSWER_BYTES: the largest answer is always refused.
    #[arg(long, env = "MAX_ANSWERS_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub max_answers_bytes: usize,

    /// Subscriptions that are open at once; one more is refused. Each takes a few KiB and a connection.
    #[arg(long, env = "MAX_SUBSCRIPTIONS", default_value_t = 1000)]
    pub max_subscriptions: usize,

    /// How many of them may be of one subject in one Space; one more is refused with RATE_LIMITED. It
    /// is the limit of a subject's WebSockets, too.
    #[arg(long, env = "MAX_SUBSCRIPTIONS_PER_BEARER", default_value_t = 500)]
    pub max_subscriptions_per_bearer: usize,

    /// WebSockets with a valid token that are open at once; one more is refused. Each takes about
    /// 20 KiB and a connection. Beside them, 128 may be open that have not shown a token yet, for 10
    /// seconds.
    #[arg(long, env = "MAX_SOCKETS", default_value_t = 1000)]
    pub max_sockets: usize,
}

/// WebSockets that have not shown a token yet.
const MAX_STRANGERS: usize = 128;
/// One bearer may have this part of the memory for bodies, and of that for answers.
const PART: usize = 4;

/// What a document asks for, and is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
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
    requests: Limiter,
    saves: Limiter,
    reads: Limiter,
    in_flight: Shares,
    bodies: Shares,
    answers: Shares,
    subscriptions: Shares,
    sockets: Shares,
    strangers: Arc<Semaphore>,
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
        let each = args.max_subscriptions_per_bearer;
        let part = |bytes: usize| Shares::new(bytes, bytes / PART);
        let limits = Arc::new(Self {
            requests: limiter(args.requests_per_second, args.requests_burst),
            saves: limiter(args.saves_per_second, args.saves_burst),
            reads: limiter(args.reads_per_second, args.reads_burst),
            in_flight: Shares::new(args.max_in_flight, args.max_in_flight_per_bearer),
            bodies: part(args.max_bodies_bytes),
            answers: part(args.max_answers_bytes),
            subscriptions: Shares::new(args.max_subscriptions, each),
            sockets: Shares::new(args.max_sockets, each),
            strangers: Arc::new(Semaphore::new(MAX_STRANGERS)),
            bearers: RandomState::new(),
        });
        tokio::spawn(forget(Arc::downgrade(&limits)));
        limits
    }

    /// A place among the requests in work, given back when it is dropped.
    ///
    /// # Errors
    /// All are taken, or all that this bearer may have.
    pub fn enter(&self, caller: &Caller) -> Result<Share, Full> {
        self.in_flight.take(self.bearer(caller), 1)
    }

    /// Room for the body of a request, none of it yet. Given back when it is dropped.
    ///
    /// # Errors
    /// None: it says so when it grows.
    pub fn body(&self, caller: &Caller) -> Result<Share, Full> {
        self.bodies.take(self.bearer(caller), 0)
    }

    /// What a request may be answered with.
    #[must_use]
    pub fn answer(&self, caller: &Caller, most_bytes: usize) -> AnswerBudget {
        AnswerBudget::new(self.answers.clone(), self.bearer(caller), most_bytes)
    }

    /// So many places among the subscriptions, given back when they are dropped.
    ///
    /// # Errors
    /// All are taken, or all that this bearer may have.
    pub fn subscribe(&self, caller: &Caller, count: usize) -> Result<Share, Full> {
        self.subscriptions.take(self.bearer(caller), count)
    }

    /// A place among the WebSockets, given back when it is dropped.
    ///
    /// # Errors
    /// All are taken, or all that this bearer may have.
    pub fn socket(&self, caller: &Caller) -> Result<Share, Full> {
        self.sockets.take(self.bearer(caller), 1)
    }

    /// A place among the WebSockets that have not shown a token, given back when it is dropped; none
    /// where all are taken.
    #[must_use]
    pub fn stranger(&self) -> Option<OwnedSemaphorePermit> {
        self.strangers.clone().try_acquire_owned().ok()
    }

    /// How many subscriptions are open.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.taken()
    }

    /// How many requests are in work.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.taken()
    }

    /// How many WebSockets with a token are open.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.taken()
    }

    /// How many bytes the bodies have that are not answered yet.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.bodies.taken()
    }

    /// How many bytes the large answers have that are not sent yet.
    #[must_use]
    pub fn answer_bytes(&self) -> usize {
        self.answers.taken()
    }

    /// Counts a request, before it is known what it asks for.
    ///
    /// # Errors
    /// It is too much. It was not counted.
    pub fn request(&self, caller: &Caller) -> Result<(), RateLimited> {
        self.count(&self.requests, caller, 1)
    }

    /// Counts what a bearer asks for.
    ///
    /// # Errors
    /// It is too much. Nothing of it was counted.
    pub fn charge(&self, caller: &Caller, charge: Cost) -> Result<(), RateLimited> {
        match charge {
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
            // More than the burst, which the configuration does not let a document ask for.
            Err(_) => Err(RateLimited {
                retry_after: FORGET,
            }),
        }
    }

    fn bearer(&self, caller: &Caller) -> u64 {
        self.bearers.hash_one((&caller.space, &caller.subject))
    }
}

/// Drops the bearers who have long been still, until nobody counts any more.
async fn forget(limits: std::sync::Weak<Limits>) {
    loop {
        tokio::time::sleep(FORGET).await;
        let Some(limits) = limits.upgrade() else {
            return;
        };
        for limiter in [&limits.requests, &limits.saves, &limits.reads] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}
