//! All metrics of the worker. docs/operating.md explains how to use each of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use proto::amqp::envelope::since_epoch;
use runtime::queue_depth;

use crate::queue::death::DeathReason;

/// The metrics with their help texts, by type.
const COUNTERS: &[(&str, &str)] = &[
    (
        "connector_details_commands_total",
        "Processed commands, by outcome: saved, deleted, repeated, conflict, refused",
    ),
    (
        "connector_details_database_retries_total",
        "Failed attempts to store a batch: the database was unavailable, or records were locked",
    ),
    (
        "connector_details_redeliveries_total",
        "Commands that the broker delivered again",
    ),
    (
        "connector_details_parked_total",
        "Commands that no worker can apply, by error code",
    ),
    (
        "connector_details_dead_letters_total",
        "Dead-lettered commands, by reason: delivery_limit, expired, rejected, unknown",
    ),
    (
        "connector_details_not_parked_total",
        "Refused commands that were not parked because the queue of parked commands is full",
    ),
    (
        "connector_details_broken_sessions_total",
        "Consuming connections that ended because of an error",
    ),
    (
        "connector_details_events_total",
        "Published events; after a crash some events are published twice",
    ),
    (
        "connector_details_events_refused_total",
        "Times that a full queue of a subscriber refused events that are not published again",
    ),
    (
        "connector_details_pruned_total",
        "Ledger entries that were deleted because they were older than LEDGER_RETENTION",
    ),
    (
        "connector_details_replies_total",
        "Replies, by outcome: sent, dropped (too many wait), failed (not written)",
    ),
];

const GAUGES: &[(&str, &str)] = &[
    (
        "connector_details_safe_mode",
        "1 while the prefetch is 1, until a command was processed that is not a redelivery",
    ),
    (
        "connector_details_oldest_command_age_seconds",
        "Age of the oldest command that is being processed, by its publisher's clock; 0 if there is none",
    ),
    (
        "connector_details_consuming",
        "1 while the worker consumes, as the active worker or as a standby",
    ),
    (
        "connector_details_broker_up",
        "1 while both connections to the broker are open",
    ),
    (
        "connector_details_database_up",
        "1 while this worker can write its heartbeat to the database",
    ),
];

const HISTOGRAMS: &[(&str, &str)] = &[
    ("connector_details_batch_commands", "Commands in one batch"),
    (
        "connector_details_batch_duration_seconds",
        "Time from the start of a batch until its last reply is queued for publishing",
    ),
    (
        "connector_details_statement_duration_seconds",
        "Time of a statement, including its commit, by outcome: ok, failed",
    ),
];

/// Registers the help text of each metric.
pub fn describe() {
    queue_depth::describe();
    for &(name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for &(name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    for &(name, help) in HISTOGRAMS {
        describe_histogram!(name, help);
    }
    register_at_zero();
}

/// Creates counters with the value 0. Prometheus sees no increase when a counter first appears with a value
/// above 0, so an alert would miss the first event.
fn register_at_zero() {
    for reason in DeathReason::ALL {
        counter!("connector_details_dead_letters_total", "reason" => reason.as_str()).increment(0);
    }
    for outcome in ReplyOutcome::ALL {
        counter!("connector_details_replies_total", "outcome" => outcome.as_str()).increment(0);
    }
    counter!("connector_details_not_parked_total").increment(0);
    counter!("connector_details_events_refused_total").increment(0);
    counter!("connector_details_broken_sessions_total").increment(0);
}

/// When the oldest command that is being processed was published, in seconds since 1970; 0 if there
/// is no such command. Clones share the value.
#[derive(Debug, Clone, Default)]
pub struct Oldest(Arc<AtomicU64>);

/// The value of [`Oldest`] without a command. It is the default of an atomic integer.
const NONE: u64 = 0;

impl Oldest {
    /// Sets the time of publishing, in seconds since 1970.
    pub(crate) fn set(&self, published: Option<u64>) {
        self.0.store(published.unwrap_or(NONE), Ordering::Relaxed);
    }

    /// The age of that command. A publisher's clock may be ahead of this one: the age is 0 then.
    pub(crate) fn age(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            NONE => Duration::ZERO,
            time => since_epoch().saturating_sub(Duration::from_secs(time)),
        }
    }
}

pub(crate) fn redelivered(commands: u64) {
    counter!("connector_details_redeliveries_total").increment(commands);
}

pub(crate) fn batch(commands: u64, redelivered: usize, took: Duration) {
    let commands = u32::try_from(commands).unwrap_or(u32::MAX);
    self::redelivered(redelivered as u64);
    histogram!("connector_details_batch_commands").record(commands);
    histogram!("connector_details_batch_duration_seconds").record(took);
}

pub(crate) fn processed(outcome: &'static str, commands: u64) {
    counter!("connector_details_commands_total", "outcome" => outcome).increment(commands);
}

pub(crate) fn statement(ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "failed" };
    histogram!("connector_details_statement_duration_seconds", "outcome" => outcome).record(took);
}

pub(crate) fn database_retry() {
    counter!("connector_details_database_retries_total").increment(1);
}

pub(crate) fn parked(reason: &'static str) {
    counter!("connector_details_parked_total", "reason" => reason).increment(1);
}

pub(crate) fn published(events: usize) {
    counter!("connector_details_events_total").increment(events as u64);
}

pub(crate) fn events_refused() {
    counter!("connector_details_events_refused_total").increment(1);
}

pub(crate) fn pruned(entries: u64) {
    counter!("connector_details_pruned_total").increment(entries);
}

pub(crate) fn dead_letter(reason: DeathReason) {
    counter!("connector_details_dead_letters_total", "reason" => reason.as_str()).increment(1);
}

pub(crate) fn not_parked() {
    counter!("connector_details_not_parked_total").increment(1);
}

pub(crate) fn broken_session() {
    counter!("connector_details_broken_sessions_total").increment(1);
}

pub(crate) fn safe_mode(on: bool) {
    gauge!("connector_details_safe_mode").set(f64::from(u8::from(on)));
}

/// What happened to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyOutcome {
    /// Written to the connection. The broker does not confirm replies.
    Sent,
    /// Not queued, because too many replies were waiting.
    Dropped,
    /// It could not be serialised, or the connection was lost while it was written.
    Failed,
}

impl ReplyOutcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Dropped, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}

pub(crate) fn replies(outcome: ReplyOutcome, count: usize) {
    counter!("connector_details_replies_total", "outcome" => outcome.as_str())
        .increment(count as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_zero_while_no_command_is_processed() {
        let oldest = Oldest::default();
        assert_eq!(oldest.age(), Duration::ZERO);

        oldest.set(Some(1));
        oldest.set(None);

        assert_eq!(oldest.age(), Duration::ZERO);
    }

    #[test]
    fn the_age_is_the_time_since_publishing_and_clones_share_it() {
        let oldest = Oldest::default();
        let clone = oldest.clone();

        oldest.set(Some(since_epoch().as_secs() - 60));

        let age = clone.age();
        assert!(age >= Duration::from_mins(1) && age < Duration::from_secs(90));
    }

    #[test]
    fn a_time_of_publishing_in_the_future_gives_the_age_zero() {
        let oldest = Oldest::default();

        oldest.set(Some(since_epoch().as_secs() + 3600));

        assert_eq!(oldest.age(), Duration::ZERO);
    }
}
