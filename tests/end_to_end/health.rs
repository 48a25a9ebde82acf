//! Health: for anyone to ask.

use std::time::Instant;

use futures_util::future::try_join_all;
use nix::sys::signal::Signal;
use tests::{
    api::{Api, SPACE, sample},
    stack::Stack,
};

#[tokio::test(flavor = "multi_thread")]
async fn health_requests_cost_the_database_almost_nothing() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[("MAX_IN_FLIGHT", "1")]).await?;
    // No request is taken any more, and health answers all the same.
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = Api::new(&gateway.url, SPACE)?;
    let saving = tokio::spawn(async move { api.save(&sample()).await });
    let pings = "connector_details_read_duration_seconds_count{service=\"gateway\",outcome=\"ok\"}";
    let before = gateway.metric(pings).await?;
    let started = Instant::now();

    let (client, url) = (
        reqwest::Client::new(),
        format!("{}/health/ready", gateway.url),
    );
    let answers = try_join_all((0..400).map(|_| client.get(&url).send())).await?;

    let seconds = started.elapsed().as_secs_f64();
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let pinged = gateway.metric(pings).await? - before;
    assert!(pinged <= seconds + 3.0, "{pinged} in {seconds} s");
    assert!(
        !saving.is_finished(),
        "the only place was taken all the time"
    );
    stack.workers[0].signal(Signal::SIGCONT)?;
    saving.await??.record()?;
    Ok(())
}
