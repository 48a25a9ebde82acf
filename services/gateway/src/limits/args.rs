//! The settings of the limits.

use std::num::NonZeroU32;

/// The limits of each bearer, and of all bearers together. Each setting says what happens if it is too
/// high or too low.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Saves per second that a subject may send to a Space, on average. Higher: one subject can fill
    /// the queue for all others. Lower: users who save a whole pack at once get RATE_LIMITED (429).
    #[arg(long, env = "SAVES_PER_SECOND", default_value = "20")]
    pub saves_per_second: NonZeroU32,

    /// Saves that a subject may send to a Space at once before that rate applies. At least MAX_SAVES,
    /// or a document with the maximum number of saves could never be sent.
    #[arg(long, env = "SAVES_BURST", default_value = "100")]
    pub saves_burst: NonZeroU32,

    /// Reads per second that a subject may send to a Space, on average. A rejected document counts as
    /// one read. Higher: one subject can keep the database busy. Lower: web pages that show many
    /// connectors get RATE_LIMITED (429).
    #[arg(long, env = "READS_PER_SECOND", default_value = "50")]
    pub reads_per_second: NonZeroU32,

    /// Reads that a subject may send to a Space at once before that rate applies. A document with more
    /// reads is rejected with GRAPHQL_VALIDATION_FAILED.
    #[arg(long, env = "READS_BURST", default_value = "200")]
    pub reads_burst: NonZeroU32,

    /// Requests per second that a subject may send to a Space, on average. Each request is counted
    /// before its body is read. Higher: one subject can keep a processor busy with requests that are
    /// rejected. Lower than the sum of SAVES_PER_SECOND and READS_PER_SECOND: those rates are never
    /// reached.
    #[arg(long, env = "REQUESTS_PER_SECOND", default_value = "100")]
    pub requests_per_second: NonZeroU32,

    /// Requests that a subject may send to a Space at once before that rate applies. Lower than the sum
    /// of SAVES_BURST and READS_BURST: those bursts are never reached.
    #[arg(long, env = "REQUESTS_BURST", default_value = "400")]
    pub requests_burst: NonZeroU32,

    /// The maximum number of requests in progress, counted from when their body was read. Further
    /// requests are rejected at once with SERVICE_UNAVAILABLE (503). Higher: more memory. Lower: the
    /// gateway rejects saves that the queue has space for.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 1024)]
    pub max_in_flight: usize,

    /// How many of them one subject in one Space may have. Further requests get RATE_LIMITED (429).
    /// Equal to MAX_IN_FLIGHT: one subject can block all others. Lower: a service that saves for many
    /// users with one token is limited.
    #[arg(long, env = "MAX_IN_FLIGHT_PER_BEARER", default_value_t = 512)]
    pub max_in_flight_per_bearer: usize,

    /// The maximum size of the bodies of all unanswered requests, in bytes. Beyond it, requests are
    /// rejected with SERVICE_UNAVAILABLE (503). One subject in one Space may use a quarter of it, and
    /// gets RATE_LIMITED (429) beyond that. Higher: more memory, about three times the bytes of a body.
    /// Lower than four times MAX_BODY_BYTES: the largest body is always rejected.
    #[arg(long, env = "MAX_BODIES_BYTES", default_value_t = 128 * 1024 * 1024)]
    pub max_bodies_bytes: usize,

    /// The maximum size of the records in all answers that are not sent yet, in bytes. The first 64 KiB
    /// of each answer are not counted. Beyond it, large answers are rejected with SERVICE_UNAVAILABLE
    /// (503). One subject in one Space may use a quarter of it. Higher: clients that read slowly use
    /// more memory. Lower than four times MAX_ANSWER_BYTES: the largest answer is always rejected.
    #[arg(long, env = "MAX_ANSWERS_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub max_answers_bytes: usize,

    /// The maximum number of open subscriptions. Further ones are rejected. Each uses a few KiB of memory
    /// and a connection.
    #[arg(long, env = "MAX_SUBSCRIPTIONS", default_value_t = 1000)]
    pub max_subscriptions: usize,

    /// How many of them one subject in one Space may have. Further ones get RATE_LIMITED. The same limit
    /// applies to the subject's WebSockets.
    #[arg(long, env = "MAX_SUBSCRIPTIONS_PER_BEARER", default_value_t = 500)]
    pub max_subscriptions_per_bearer: usize,

    /// The maximum number of open WebSockets with a valid token. Further ones are rejected. Each uses
    /// about 20 KiB of memory and a connection. In addition, 128 WebSockets may be open without a token,
    /// for 10 seconds each.
    #[arg(long, env = "MAX_SOCKETS", default_value_t = 1000)]
    pub max_sockets: usize,
}
