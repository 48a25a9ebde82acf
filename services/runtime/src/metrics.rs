//! Metrics, as Prometheus fetches them: `GET /metrics`.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::State, response::IntoResponse, routing::get};
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Seconds: from a fraction of a read to the last deadline of a save.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Commands in one batch.
const COMMANDS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0];
/// How often what was observed is put into buckets, whether or not anyone fetches.
const UPKEEP: Duration = Duration::from_secs(5);
/// The format's own media type.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Looks at what has to be asked for, and sets its gauges.
pub type GaugeRefresh = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Starts collecting. Before it, nothing that is counted is kept. Every metric gets the service as
/// a label.
///
/// # Errors
/// Something collects already.
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
        "1, with what was built as its labels"
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

/// The endpoint. `look` comes before each answer.
pub fn router(handle: PrometheusHandle, look: GaugeRefresh) -> Router {
    Router::new()
        .route("/metrics", get(render))
        .with_state((handle, look))
}

async fn render(
    State((handle, look)): State<(PrometheusHandle, GaugeRefresh)>,
) -> impl IntoResponse {
    look().await;
    ([("content-type", TEXT)], handle.render())
}
