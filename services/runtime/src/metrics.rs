//! Collects metrics and serves them to Prometheus at `/metrics`.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::State, response::IntoResponse, routing::get};
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of durations in seconds, from the fastest read to the longest deadline of a save.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets of the number of commands in a batch.
const COMMANDS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0];
/// How often observed values are moved into buckets. Without it, memory grows while nothing scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// The media type of Prometheus's text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sets the gauges whose values have to be queried. Called before each scrape is answered.
pub type GaugeRefresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Installs the recorder. Values that are recorded before are lost. Every metric gets the label `service`.
///
/// # Errors
/// A recorder is already installed.
pub fn install(service: &'static str, version: &'static str) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .add_global_label("service", service)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &COMMANDS)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .context("the metrics")?;
    metrics::describe_gauge!(
        "connector_details_build_info",
        "Always 1; its labels say which version runs"
    );
    metrics::gauge!("connector_details_build_info", "version" => version).set(1.0);
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// The endpoint. It calls `refresh` before each answer.
pub fn router(handle: PrometheusHandle, refresh: GaugeRefresh) -> Router {
    Router::new()
        .route("/metrics", get(render))
        .with_state((handle, refresh))
}

async fn render(
    State((handle, refresh)): State<(PrometheusHandle, GaugeRefresh)>,
) -> impl IntoResponse {
    refresh().await;
    ([("content-type", TEXT)], handle.render())
}
