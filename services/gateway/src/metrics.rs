//! Every metric of the gateway, by name. What each is good for: docs/operating.md.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use runtime::queue_depth;

/// Says what the metrics mean.
pub fn describe() {
    queue_depth::describe();
    describe_counter!(
        "connector_details_requests_total",
        "Answered requests, by kind (save, read, none) and code: OK, or that of the first error"
    );
    describe_histogram!(
        "connector_details_request_duration_seconds",
        "From a request's first byte to its answer, by kind"
    );
    describe_counter!(
        "connector_details_publishes_total",
        "Published commands, by the broker's word: confirmed, queue full, unroutable, lost"
    );
    describe_histogram!(
        "connector_details_publish_duration_seconds",
        "From writing a command to the broker's word"
    );
    describe_histogram!(
        "connector_details_reply_duration_seconds",
        "From handing a command over to the worker's reply"
    );
    describe_counter!(
        "connector_details_replies_ignored_total",
        "Messages on the reply queue that answer nobody, by reason: unreadable, too large, another \
         command"
    );
    for reason in ["unreadable", "too large", "another command"] {
        counter!("connector_details_replies_ignored_total", "reason" => reason).increment(0);
    }
    describe_histogram!(
        "connector_details_read_duration_seconds",
        "Reads from the database, by outcome: ok, failed"
    );
    describe_gauge!(
        "connector_details_waiting_requests",
        "Saves that wait for their reply"
    );
    describe_gauge!(
        "connector_details_requests_in_flight",
        "Requests in work; at MAX_IN_FLIGHT the next is refused"
    );
    describe_gauge!(
        "connector_details_subscriptions",
        "Open subscriptions; at MAX_SUBSCRIPTIONS the next is refused"
    );
    describe_gauge!(
        "connector_details_connections",
        "Open connections of clients; at MAX_CONNECTIONS the longest without a request is closed"
    );
    describe_counter!(
        "connector_details_connections_closed_total",
        "Connections that the gateway closed, by reason: idle, slow, stalled, made room, refused"
    );
    // Known before the first is closed, so that a rate can be drawn.
    gauge!("connector_details_connections").set(0);
    for reason in ["idle", "slow", "stalled", "made room", "refused"] {
        counter!("connector_details_connections_closed_total", "reason" => reason).increment(0);
    }
    describe_gauge!(
        "connector_details_database_connections",
        "Connections to the database, by state: busy, idle"
    );
    describe_gauge!(
        "connector_details_broker_up",
        "1 while the broker is connected and takes commands"
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
        "Since the keys were read from JWKS_URL or JWKS_FILE"
    );
}

pub(crate) fn answered(kind: &'static str, code: &'static str, took: Duration) {
    counter!("connector_details_requests_total", "kind" => kind, "code" => code).increment(1);
    histogram!("connector_details_request_duration_seconds", "kind" => kind).record(took);
}

pub(crate) fn published(outcome: &'static str, took: Duration) {
    counter!("connector_details_publishes_total", "outcome" => outcome).increment(1);
    histogram!("connector_details_publish_duration_seconds").record(took);
}

pub(crate) fn replied(took: Duration) {
    histogram!("connector_details_reply_duration_seconds").record(took);
}

pub(crate) fn reply_ignored(reason: &'static str) {
    counter!("connector_details_replies_ignored_total", "reason" => reason).increment(1);
}

pub(crate) fn read(ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "failed" };
    histogram!("connector_details_read_duration_seconds", "outcome" => outcome).record(took);
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
