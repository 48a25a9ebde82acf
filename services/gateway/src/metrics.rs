//! All metrics of the gateway. docs/operating.md explains how to use them.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use runtime::queue_depth;

/// Registers the help texts, and the counters that must exist before their first event.
pub fn describe() {
    queue_depth::describe();
    describe_requests();
    describe_commands();
    describe_connections();
    describe_dependencies();
}

fn describe_requests() {
    describe_counter!(
        "connector_details_requests_total",
        "Answered requests, by kind (save, read, none) and code: OK, or the code of the first error"
    );
    describe_histogram!(
        "connector_details_request_duration_seconds",
        "Seconds from receiving a request to its answer, by kind"
    );
    describe_gauge!(
        "connector_details_requests_in_flight",
        "Requests in progress; at MAX_IN_FLIGHT further requests are refused"
    );
    describe_gauge!(
        "connector_details_subscriptions",
        "Open subscriptions; at MAX_SUBSCRIPTIONS further ones are refused"
    );
}

fn describe_commands() {
    describe_counter!(
        "connector_details_publishes_total",
        "Published commands, by outcome: confirmed, queue full, unroutable, lost"
    );
    describe_histogram!(
        "connector_details_publish_duration_seconds",
        "Seconds from publishing a command to its confirm"
    );
    describe_histogram!(
        "connector_details_reply_duration_seconds",
        "Seconds from publishing a command to the worker's reply"
    );
    describe_counter!(
        "connector_details_replies_ignored_total",
        "Ignored messages on the reply queue, by reason: unreadable, too large, another command"
    );
    for reason in ["unreadable", "too large", "another command"] {
        counter!("connector_details_replies_ignored_total", "reason" => reason).increment(0);
    }
    describe_gauge!(
        "connector_details_waiting_requests",
        "Requests that wait for the reply to their command"
    );
}

fn describe_connections() {
    describe_gauge!(
        "connector_details_connections",
        "Open client connections; at MAX_CONNECTIONS the one that has been idle longest is closed"
    );
    describe_counter!(
        "connector_details_connections_closed_total",
        "Connections that the gateway closed, by reason: idle, slow, stalled, made room, refused"
    );
    // Prometheus can compute a rate only if the counter existed before its first increment.
    gauge!("connector_details_connections").set(0);
    for reason in ["idle", "slow", "stalled", "made room", "refused"] {
        counter!("connector_details_connections_closed_total", "reason" => reason).increment(0);
    }
}

fn describe_dependencies() {
    describe_histogram!(
        "connector_details_read_duration_seconds",
        "Seconds of reads from the database, by outcome: ok, failed"
    );
    describe_gauge!(
        "connector_details_database_connections",
        "Connections to the database, by state: busy, idle"
    );
    describe_gauge!(
        "connector_details_broker_up",
        "1 while the broker is connected and accepts commands"
    );
    describe_gauge!(
        "connector_details_database_up",
        "1 while the database answers"
    );
    describe_gauge!(
        "connector_details_keys_up",
        "1 while there are keys to check tokens with"
    );
    describe_gauge!(
        "connector_details_keys_age_seconds",
        "Seconds since the keys were read from JWKS_URL or JWKS_FILE"
    );
}

pub(crate) fn answered(kind: &'static str, code: &'static str, duration: Duration) {
    counter!("connector_details_requests_total", "kind" => kind, "code" => code).increment(1);
    histogram!("connector_details_request_duration_seconds", "kind" => kind).record(duration);
}

pub(crate) fn published(outcome: &'static str, duration: Duration) {
    counter!("connector_details_publishes_total", "outcome" => outcome).increment(1);
    histogram!("connector_details_publish_duration_seconds").record(duration);
}

pub(crate) fn replied(duration: Duration) {
    histogram!("connector_details_reply_duration_seconds").record(duration);
}

pub(crate) fn reply_ignored(reason: &'static str) {
    counter!("connector_details_replies_ignored_total", "reason" => reason).increment(1);
}

pub(crate) fn read(ok: bool, duration: Duration) {
    let outcome = if ok { "ok" } else { "failed" };
    histogram!("connector_details_read_duration_seconds", "outcome" => outcome).record(duration);
}

pub(crate) fn connection_opened() {
    gauge!("connector_details_connections").increment(1);
}

pub(crate) fn connection_ended() {
    gauge!("connector_details_connections").decrement(1);
}

pub(crate) fn connection_closed(reason: &'static str) {
    counter!("connector_details_connections_closed_total", "reason" => reason).increment(1);
}

pub(crate) fn set(name: &'static str, count: usize) {
    gauge!(name).set(float(count));
}

pub(crate) fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
