//! The state that all requests share, and the gauges that are read from it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use metrics::gauge;
use runtime::{metrics::GaugeRefresh, traces::Traces};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Auth,
    commands::client::Commands,
    graphql::{
        document::{DocumentArgs, DocumentCache},
        schema::ConnectorDetailsSchema,
    },
    limits::Limits,
    metrics::{float, set},
    records::Records,
};

/// The state that all requests share.
pub struct App {
    /// The GraphQL schema.
    pub schema: ConnectorDetailsSchema,
    /// Checks tokens.
    pub auth: Arc<Auth>,
    /// Sends commands to the broker.
    pub commands: Commands,
    /// Reads from the database.
    pub records: Records,
    /// Limits each subject, and all subjects together.
    pub limits: Arc<Limits>,
    /// Limits the size of a request.
    pub document: DocumentArgs,
    /// Parsed documents.
    pub documents: Arc<DocumentCache>,
    /// Exports spans.
    pub traces: Traces,
    /// Cancelled when the gateway starts to stop: it is not ready any more, and still answers.
    pub stop: CancellationToken,
}

/// Sets the gauges whose values are read when the metrics are scraped.
#[must_use]
pub fn refresh_gauges(app: Arc<App>) -> GaugeRefresh {
    Arc::new(move || {
        let app = app.clone();
        async move {
            set(
                "connector_details_waiting_requests",
                app.commands.pending_count(),
            );
            set(
                "connector_details_requests_in_flight",
                app.limits.in_flight(),
            );
            set(
                "connector_details_subscriptions",
                app.limits.subscriptions(),
            );
            let database = app.records.is_up().await;
            let (busy, idle) = app.records.connections();
            for (state, count) in [("busy", busy), ("idle", idle)] {
                gauge!("connector_details_database_connections", "state" => state)
                    .set(float(count));
            }
            let keys = &app.auth.keys;
            for (name, up) in [
                ("connector_details_broker_up", app.commands.is_open()),
                ("connector_details_database_up", database),
                ("connector_details_keys_up", keys.is_ready()),
            ] {
                set(name, usize::from(up));
            }
            if let Some(age) = keys.age() {
                gauge!("connector_details_keys_age_seconds").set(age);
            }
        }
        .boxed()
    })
}
