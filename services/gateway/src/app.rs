//! What requests are served with, and the gauges that are read from it.

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
        schema::Schemas,
    },
    limits::Limits,
    metrics::{float, set},
    records::Records,
};

/// What requests are served with.
pub struct App {
    /// The API.
    pub schemas: Schemas,
    /// Who is let in.
    pub auth: Arc<Auth>,
    /// The way to the broker.
    pub commands: Commands,
    /// The way to the database.
    pub records: Records,
    /// How much a bearer, and all of them, may have.
    pub limits: Arc<Limits>,
    /// How large a request may be.
    pub document: DocumentArgs,
    /// What was parsed before.
    pub documents: Arc<DocumentCache>,
    /// Where spans go.
    pub traces: Traces,
    /// Told to stop: not ready any more, and still answering.
    pub stop: CancellationToken,
}

/// Looks at what is not counted as it happens.
#[must_use]
pub fn refresh_gauges(app: Arc<App>) -> GaugeRefresh {
    Arc::new(move || {
        let app = app.clone();
        async move {
            set("connector_details_waiting_requests", app.commands.waiting());
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
