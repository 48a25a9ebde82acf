//! Performance tests. They need a machine without other load: `cargo dev test --test end_to_end --
//! --ignored performance::`.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::{
    api::{Api, SPACE, sample, sample_with},
    stack::Stack,
};
use tokio::task::JoinHandle;

use crate::lists::page;

/// How long a bearer waits who saves now and then.
async fn calm(api: &Api, took: &mut Vec<Duration>) -> anyhow::Result<()> {
    for _ in 0..100 {
        let started = Instant::now();
        api.save(&sample()).await?.record()?;
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Sixty-four connections that ask again as soon as they are answered.
struct Flood(Vec<JoinHandle<()>>);

impl Flood {
    fn start(api: &Api) -> Self {
        let ask = |n| {
            let (api, input) = (api.clone(), sample_with("processId", format!("greedy {n}")));
            async move {
                loop {
                    let _ = api.save(&input).await;
                }
            }
        };
        Self((0..64).map(|n| tokio::spawn(ask(n))).collect())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// The ratio between a calm client's latency with and without a greedy client, measured in turn in
/// one run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and wants the machine for itself"]
async fn one_bearer_at_full_speed_does_not_slow_another() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let usual = [("SAVES_PER_SECOND", "20"), ("SAVES_BURST", "100")];
    let gateway = stack.ready_gateway(&usual).await?;
    // One after the other, or the second run would be refused for the first.
    let calm_ones = (0..).map(|n| Api::for_subject(&gateway.url, SPACE, &format!("calm {n}")));
    let mut calm_ones = calm_ones.take(13);
    let mut next = || calm_ones.next().context("nobody is left")?;
    let greedy = Api::for_subject(&gateway.url, SPACE, "greedy")?;
    calm(&next()?, &mut Vec::new()).await?;

    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        calm(&next()?, &mut alone).await?;
        let _flood = Flood::start(&greedy);
        // Uses up the burst, which is not measured.
        tokio::time::sleep(Duration::from_secs(1)).await;
        calm(&next()?, &mut beside).await?;
    }

    let refused = greedy.save(&sample()).await?;
    assert_eq!(refused.status, 429, "the greedy one was not greedy enough");
    let p99 = |took: &mut Vec<Duration>| {
        took.sort();
        took[took.len() * 99 / 100]
    };
    let (alone, beside) = (p99(&mut alone), p99(&mut beside));
    eprintln!("p99 of the calm one: {alone:?}, beside the greedy one {beside:?}");
    assert!(beside < alone * 3 / 2, "{beside:?} instead of {alone:?}");
    Ok(())
}

/// Fills a Space with so many records, as the owner of the database, each with a change in the ledger.
async fn filled(stack: &Stack, space: &str, records: i64) -> anyhow::Result<()> {
    sqlx::query(
        "insert into connector_details (
             catalog_guid, integration_pack_instance_id, process_id, env_id, connection_id,
             is_token_generated, oauth_connector_details, client_id, last_command_id
         )
         select $1, 'pack ' || n % 97, 'process ' || n % 89, 'env ' || n % 7, 'connection ' || n,
             n % 1000 = 0, '{}', 'client', n::text
         from generate_series(1, $2) n",
    )
    .bind(space)
    .bind(records)
    .execute(&stack.database)
    .await?;
    sqlx::query("analyze connector_details")
        .execute(&stack.database)
        .await?;
    Ok(())
}

#[tokio::test]
#[ignore = "measures, and wants the machine for itself"]
async fn a_page_of_a_million_records_reads_as_much_as_one_of_a_thousand() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let (few, many) = ("a small Space", "a large Space");
    filled(&stack, few, 1_000).await?;
    filled(&stack, many, 1_000_000).await?;
    // Twice, for the first comes from the disk.
    let mut slowest = [0.0; 2];
    for filter in [
        Value::Null,
        json!({ "integrationPackInstanceId": "pack 5" }),
        json!({ "processId": "process 5" }),
        json!({ "envId": "env 5" }),
        json!({ "connectionId": "connection 500" }),
        json!({ "isTokenGenerated": true }),
    ] {
        for (index, space) in [few, many].into_iter().enumerate() {
            let api = stack.api(space)?;
            let first = page(&api, filter.clone(), 20, &Value::Null).await?;
            let after = first["pageInfo"]["endCursor"].clone();
            page(&api, filter.clone(), 20, &after).await?;
            let started = Instant::now();
            page(&api, filter.clone(), 20, &after).await?;
            let took = started.elapsed().as_secs_f64() * 1e3;
            if took > slowest[index] {
                slowest[index] = took;
            }
        }
    }
    eprintln!(
        "a page of 1,000 records takes {:.1} ms, of 1,000,000 {:.1} ms",
        slowest[0], slowest[1]
    );
    assert!(slowest[1] < slowest[0] * 2.0, "{slowest:?}");
    Ok(())
}
