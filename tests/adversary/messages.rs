//! Messages that no client library can read, among good ones.

use std::time::{Duration, Instant};

use anyhow::ensure;
use proto::amqp::topology::{COMMANDS, DEAD, PARKED, SAVE};
use tests::{
    api::{SPACE, sample_with},
    bystander::Attack,
    eventually,
    processes::{Memory, counter, waiting},
    raw_amqp::{Confirm, RawAmqp, RawProperties, text_field, unreadable},
};

/// Where an operator finds what no program should read again.
const UNREADABLE: &str = "ipack.connector-details.v1.unreadable";
/// Good commands in front of the hostile messages, and as many behind them.
const GOOD: usize = 200;
/// For all of the good ones, in a debug build.
const APPLIED_WITHIN: Duration = Duration::from_secs(10);

/// The messages of this kind.
fn hostile(kind: &str) -> Vec<(&'static str, RawProperties)> {
    let mut all = unreadable();
    all.push((
        "20 KB of headers",
        RawProperties {
            headers: Some(text_field(b"x", 20_000)),
            ..RawProperties::save(b"hostile")
        },
    ));
    all.retain(|(name, _)| name.contains(kind));
    all
}

async fn publish_good(raw: &mut RawAmqp, place: &str) -> anyhow::Result<()> {
    for number in 0..GOOD {
        let id = format!("{place} {number}");
        let body = sample_with("processId", id.as_str()).to_string();
        let properties = RawProperties::save(id.as_bytes()).encode();
        let confirm = raw
            .publish(COMMANDS, SAVE.as_bytes(), &properties, body.as_bytes())
            .await?;
        ensure!(confirm == Confirm::Ack, "{confirm:?}: {id}");
    }
    Ok(())
}

/// How many commands were applied whose ids are like this.
async fn applied(attack: &Attack, ids: &str) -> anyhow::Result<u64> {
    let count = "select count(*) from connector_details_ledger
         where catalog_guid = $1 and command_id like $2";
    let count: i64 = sqlx::query_scalar(count)
        .bind(SPACE)
        .bind(ids)
        .fetch_one(&attack.stack.database)
        .await?;
    Ok(count.try_into()?)
}

/// The number of parked messages.
async fn parked_count(attack: &Attack) -> anyhow::Result<u64> {
    let mut count = 0;
    for queue in [PARKED, DEAD, UNREADABLE] {
        // One of them may not exist.
        count += waiting(&attack.stack, queue).await.unwrap_or_default();
    }
    Ok(count)
}

/// Each hostile message of a kind, alone among 400 good ones.
async fn affect_themselves_alone(kind: &str) -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.worker()?)?;
    let mut raw = RawAmqp::connect(&attack.stack.uri()?).await?;
    let hostile = hostile(kind);
    ensure!(!hostile.is_empty(), "no message is meant by {kind}");
    let good = 2 * GOOD as u64;

    publish_good(&mut raw, "good in front").await?;
    for (name, properties) in &hostile {
        let (properties, body) = (properties.encode(), sample_with("processId", *name));
        let body = body.to_string();
        let confirm = raw
            .publish(COMMANDS, SAVE.as_bytes(), &properties, body.as_bytes())
            .await?;
        ensure!(confirm == Confirm::Ack, "{confirm:?}: {name}");
    }
    publish_good(&mut raw, "good behind").await?;
    let published = Instant::now();
    eventually("the good commands to be applied", async || {
        let applied = applied(&attack, "good %").await?;
        ensure!(
            applied == good || published.elapsed() < APPLIED_WITHIN,
            "{applied} of {good} applied in {APPLIED_WITHIN:?}"
        );
        Ok((applied == good).then_some(()))
    })
    .await?;

    // Headers that are only many can be read, where frames are large enough; then it is a command.
    eventually("the others to be applied or parked", async || {
        let found = parked_count(&attack).await? + applied(&attack, "hostile").await?;
        Ok((found == hostile.len() as u64).then_some(()))
    })
    .await?;
    let redelivered = counter(attack.worker()?, "connector_details_redeliveries_total").await?;
    ensure!(redelivered < 10.0, "{redelivered} good ones came twice");
    let grew = memory.grew_mib()?;
    ensure!(grew < 128, "{grew} MiB more");
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_large_headers_affect_no_other_message() -> anyhow::Result<()> {
    affect_themselves_alone("KB of headers").await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_not_utf_8_affect_no_other_message() -> anyhow::Result<()> {
    affect_themselves_alone("not UTF-8").await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_nested_headers_affect_no_other_message() -> anyhow::Result<()> {
    affect_themselves_alone("nested arrays").await
}
