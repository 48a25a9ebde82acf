//! End to end tests: the real programs with real servers. Each name states one behaviour.

#![expect(clippy::print_stderr, reason = "what was measured is worth reading")]

mod auth;
mod canary;
mod clients;
mod configuration;
mod configuration_page;
mod connections;
mod console;
mod containers;
mod contract;
mod costs;
mod database;
mod deletes_and_revisions;
mod errors;
mod events;
mod health;
mod hostile_messages;
mod http;
mod invalid_commands;
mod limits;
mod lists;
mod locked;
mod manifests;
mod metrics;
mod model;
mod observability;
mod outages;
mod parking_limits;
mod performance;
mod permissions;
mod poison;
mod promises;
mod publishers;
mod replay;
mod replies;
mod request_headers;
mod socket_costs;
mod subscriptions;
mod topology;
mod tracestate;
mod tracing;
mod worker;
