//! Every metric of the worker, by name. What each is good for: docs/operating.md.

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

/// Says what the metrics mean.
pub fn describe() {
    queue_depth::describe();
    describe_counter!(
        "connector_details_commands_total",
        "Decided commands, by outcome: saved, deleted, repeated, conflict, refused"
    );
    describe_histogram!("connector_details_batch_commands", "Commands in one batch");
    describe_histogram!(
        "connector_details_batch_duration_seconds",
        "From taking a batch to handing over its last reply"
    );
    describe_histogram!(
        "connector_details_statement_duration_seconds",
        "Statements that save, commit included, by outcome: ok, failed"
    );
    describe_counter!(
        "connector_details_database_retries_total",
        "Batches that are held because the database can't decide, and tries in vain for locked records"
    );
    describe_counter!(
        "connector_details_redeliveries_total",
        "Commands that were delivered before"
    );
    describe_counter!(
        "connector_details_parked_total",
        "Commands that nobody can apply, by the code of the reason"
    );
    describe_counter!(
        "connector_details_dead_letters_total",
        "Commands that the broker gave up on, by reason: delivery_limit, expired, rejected, unknown"
    );
    describe_counter!(
        "connector_details_not_parked_total",
        "Refused commands that were not kept, for the queue of parked ones is full"
    );
    describe_counter!(
        "connector_details_broken_sessions_total",
        "Consuming connections that ended without being told to"
    );
    describe_gauge!(
        "connector_details_safe_mode",
        "1 while commands are taken one at a time, until one came that was never delivered before"
    );
    describe_counter!(
        "connector_details_events_total",
        "Published events; after a crash some are published again"
    );
    describe_counter!(
        "connector_details_pruned_total",
        "Decisions that were forgotten, for they were older than LEDGER_RETENTION"
    );
    describe_counter!(
        "connector_details_replies_total",
        "Replies, by outcome: sent, dropped"
    );
    describe_gauge!(
        "connector_details_oldest_command_age_seconds",
        "Age of the oldest command in hand, by its publisher's clock; 0 where none is"
    );
    describe_gauge!(
        "connector_details_consuming",
        "1 while the worker takes commands or stands by"
    );
    describe_gauge!(
        "connector_details_broker_up",
        "1 while both connections to the broker are there"
    );
    describe_gauge!(
        "connector_details_database_up",
        "1 while the database takes the heartbeat that this worker writes"
    );
    begin_at_zero();
}

/// Counts nothing yet. An alert on an increase sees none where a counter appears with its first count.
fn begin_at_zero() {
    for reason in DeathReason::ALL {
        counter!("connector_details_dead_letters_total", "reason" => reason.as_str()).increment(0);
    }
    counter!("connector_details_not_parked_total").increment(0);
    counter!("connector_details_broken_sessions_total").increment(0);
}

/// When the oldest command in hand was published, in seconds since 1970; 0 where none is in hand.
#[derive(Debug, Clone, Default)]
pub struct Oldest(Arc<AtomicU64>);

impl Oldest {
    /// Sets when it was published.
    pub(crate) fn set(&self, published: Option<u64>) {
        self.0
            .store(published.unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn age(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            time => since_epoch().saturating_sub(Duration::from_secs(time)),
        }
    }
}

pub(crate) fn batch(commands: u64, redelivered: usize, took: Duration) {
    let commands = u32::try_from(commands).unwrap_or(u32::MAX);
    counter!("connector_details_redeliveries_total").increment(redelivered as u64);
    histogram!("connector_details_batch_commands").record(commands);
    histogram!("connector_details_batch_duration_seconds").record(took);
}

pub(crate) fn decided(outcome: &'static str, commands: u64) {
    counter!("connector_details_commands_total", "outcome" => outcome).increment(commands);
}

pub(crate) fn statement(ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "failed" };
    histogram!("connector_details_statement_duration_seconds", "outcome" => outcome).record(took);
}

pub(crate) fn held() {
    counter!("connector_details_database_retries_total").increment(1);
}

pub(crate) fn parked(reason: &'static str) {
    counter!("connector_details_parked_total", "reason" => reason).increment(1);
}

pub(crate) fn published(events: usize) {
    counter!("connector_details_events_total").increment(events as u64);
}

pub(crate) fn pruned(decisions: u64) {
    counter!("connector_details_pruned_total").increment(decisions);
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

pub(crate) fn replied(outcome: &'static str) {
    counter!("connector_details_replies_total", "outcome" => outcome).increment(1);
}
