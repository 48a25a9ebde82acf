//! Connections that are slow, silent, or very many.

use std::time::Duration;

use anyhow::ensure;
use futures_util::future::join_all;
use tests::{
    api::{SECRET, SPACE},
    bystander::Attack,
    eventually,
    processes::Memory,
    raw_http::{Behaviour, Crowd, post_head},
};
use tokio::time::sleep;

/// More than the gateway works on at once.
const CROWD: usize = 1100;
/// Long enough for every place to be taken, given back and taken again.
const SIEGE: Duration = Duration::from_secs(8);

fn token(subject: &str) -> anyhow::Result<String> {
    gateway::auth::dev_token::sign(SECRET, SPACE, subject, Duration::from_mins(5))
}

/// Until nearly all of the crowd has connected.
async fn gathered(crowd: &Crowd) -> anyhow::Result<()> {
    eventually("the crowd to gather", async || {
        Ok((crowd.open() + crowd.closed_by_server() > CROWD * 9 / 10).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_time_out() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.gateway()?)?;
    let crowd = Crowd::connect(&attack.gateway()?.url, CROWD, |_| Behaviour {
        beginning: "POST /graphql HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_owned(),
        bytes: b"x",
        again: false,
    });
    gathered(&crowd).await?;

    eventually("the gateway to end these connections", async || {
        Ok((crowd.closed_by_server() > CROWD * 9 / 10).then_some(()))
    })
    .await?;
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_one_bearer_occupy_no_slot() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.gateway()?)?;
    let beginning = post_head(&token("slow")?, 100_000) + "{";
    let crowd = Crowd::connect(&attack.gateway()?.url, CROWD, |_| Behaviour {
        beginning: beginning.clone(),
        bytes: b" ",
        again: true,
    });
    gathered(&crowd).await?;

    sleep(SIEGE).await;
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_many_bearers_occupy_no_slot() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let tokens: Vec<_> = (0..CROWD)
        .map(|number| token(&format!("slow {number}")))
        .collect::<anyhow::Result<_>>()?;
    let crowd = Crowd::connect(&attack.gateway()?.url, CROWD, |number| Behaviour {
        beginning: post_head(&tokens[number], 100_000) + "{",
        bytes: b" ",
        again: true,
    });
    gathered(&crowd).await?;

    sleep(SIEGE).await;
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_cheap_and_time_out() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.gateway()?)?;
    let crowd = Crowd::connect(&attack.gateway()?.url, CROWD, |_| Behaviour {
        beginning: String::new(),
        bytes: b"",
        again: false,
    });
    gathered(&crowd).await?;

    eventually("the gateway to end these connections", async || {
        Ok((crowd.closed_by_server() > CROWD * 9 / 10).then_some(()))
    })
    .await?;
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.others_were_unaffected().await
}

/// How many connections of the gateway the database has.
async fn database_connections(attack: &Attack) -> anyhow::Result<i64> {
    let count = "select count(*) from pg_stat_activity
         where application_name = 'connector-details-gateway' and datname = current_database()";
    Ok(sqlx::query_scalar(count)
        .fetch_one(&attack.stack.database)
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_requests_use_no_pool_connection() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let url = format!("{}/health/ready", attack.gateway()?.url);
    let before = database_connections(&attack).await?;
    let client = reqwest::Client::new();

    for _ in 0..3 {
        let asked = join_all((0..500).map(|_| client.get(&url).send()));
        let (answers, during) = tokio::join!(asked, async {
            sleep(Duration::from_millis(50)).await;
            database_connections(&attack).await
        });
        let ready = answers.iter().flatten();
        ensure!(
            ready.filter(|it| it.status() == 200).count() > 450,
            "not ready"
        );
        let opened = during? - before;
        ensure!(opened <= 2, "{opened} connections for 500 who ask");
    }
    // Reads are as fast as before.
    attack
        .attacker()?
        .find(&tests::api::sample())
        .await?
        .record()?;
    attack.others_were_unaffected().await
}
