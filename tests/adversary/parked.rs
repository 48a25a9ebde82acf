//! Parked commands can't vanish, can't undo later saves, and can't fill the worker.

use anyhow::{Context as _, ensure};
use lapin::{BasicProperties, options::QueueDeclareOptions, types::FieldTable};
use proto::amqp::topology::{PARKED, QUEUE};
use serde_json::{Value, json};
use tests::{
    api::{sample, sample_with},
    bystander::Attack,
    eventually,
    processes::{Memory, waiting},
    publisher::{Found, Publisher},
    stack::Stack,
};

async fn replay(stack: &Stack, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = stack.program("worker", &[&["replay"], arguments].concat())?;
    let output = command.env("AMQP_URL", &stack.amqp_url).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

fn id(found: &Found) -> Option<String> {
    Some(found.properties.message_id().as_ref()?.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn inspecting_the_parking_queue_leaves_it_complete() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let mut publisher = attack.stack.publisher().await?;
    let invalid = sample_with("envId", "").to_string();
    for (id, body) in [("readable", invalid.as_str()), ("not", "not JSON")] {
        let reply = publisher.ask(body, Publisher::properties(id)).await?;
        assert_eq!(reply["outcome"], "refused");
    }

    // RabbitMQ 4 drops a message that was returned more than 20 times, if its queue has no limit of its own.
    for _ in 0..25 {
        let report = replay(&attack.stack, &["--dry-run"]).await?;
        ensure!(report.lines().count() == 2, "{report}");
    }

    let queue = format!("queues/{}/{PARKED}", attack.stack.vhost);
    let limit = attack.stack.broker(&queue).await?["arguments"]["x-delivery-limit"].as_i64();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let found = publisher.take(PARKED).await?;
        let count = found.header("x-delivery-count").unwrap_or_default();
        let count: i64 = digits(&count).parse().unwrap_or_default();
        let most = limit.unwrap_or(20);
        ensure!(most < 0 || count < most, "{count} of {most} deliveries");
        ids.extend(id(&found));
    }
    ids.sort();
    assert_eq!(ids, ["not", "readable"]);
    attack.others_were_unaffected().await
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// A command that was parked because its publisher had no permission to write. Its timestamp is an hour ago.
async fn parked_long_ago(stack: &Stack) -> anyhow::Result<()> {
    let strict_worker = stack.worker_with(vec![("PUBLISHERS", "{}".to_owned())])?;
    strict_worker.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    let an_hour_ago = proto::amqp::envelope::since_epoch().as_secs() - 60 * 60;
    let properties = Publisher::properties("old").with_timestamp(an_hour_ago);
    let old = sample_with("clientId", "the old one").to_string();
    let reply = publisher.ask(old, properties).await?;
    ensure!(reply["errors"][0]["code"] == "FORBIDDEN", "{reply}");
    ensure!(strict_worker.stop().await?, "the worker did not stop");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_does_not_undo_a_later_save_without_force() -> anyhow::Result<()> {
    let (attack, ()) = Attack::after(parked_long_ago).await?;
    let (stack, api) = (&attack.stack, attack.attacker()?);
    let newer = sample_with("clientId", "the new one");
    api.save(&newer).await?.record()?;
    let client = async || anyhow::Ok(api.find(&newer).await?.record()?["clientId"].clone());

    let dry = replay(stack, &["--dry-run"]).await?;
    ensure!(
        dry.contains("old") && !dry.contains("would be sent"),
        "{dry}"
    );
    let report = replay(stack, &[]).await?;
    ensure!(!report.starts_with("sent"), "{report}");
    // This save is behind the replayed command in the queue.
    api.save(&sample_with("connectionId", "another"))
        .await?
        .record()?;
    assert_eq!(client().await?, "the new one");
    replay(stack, &["--force", "--id", "old"]).await?;
    eventually("the old one to be applied", async || {
        Ok((client().await? == "the old one").then_some(()))
    })
    .await?;
    attack.others_were_unaffected().await
}

/// A command that is refused, of nearly the largest size.
fn large_and_invalid() -> String {
    let mut body = sample_with("envId", "");
    let filling = "x".repeat(60 * 1024);
    body["oauthConnectorDetails"] = json!({ "authParams": { "a": filling } }).to_string().into();
    body.to_string()
}

/// A flood of commands delays later commands in the queue, and must not stop any of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_invalid_commands_does_not_fill_the_worker() -> anyhow::Result<()> {
    const FLOOD: u64 = 300;
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.worker()?)?;
    let publisher = attack.stack.publisher().await?;
    let body = large_and_invalid();

    for number in 0..FLOOD {
        let properties = Publisher::properties(&format!("flood {number}"));
        publisher.publish(&body, properties).await?;
    }
    // A copy whose confirm is late is published again. So there may be more copies than commands.
    eventually("all of it to be parked", async || {
        Ok((waiting(&attack.stack, PARKED).await? >= FLOOD).then_some(()))
    })
    .await?;

    let grew = memory.grew_mib()?;
    ensure!(grew < 128, "{grew} MiB more");
    attack.others_recovered().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parking_commands_delays_no_other_command() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let mut publisher = attack.stack.publisher().await?;
    let body = large_and_invalid();

    // At most as many commands as a debug build processes in half a second.
    for round in 0..10 {
        for number in 0..8 {
            let properties = Publisher::properties(&format!("{round} {number}"));
            publisher.publish(&body, properties).await?;
        }
        let last = Publisher::properties(&format!("{round} last"));
        let reply = publisher.ask(&body, last).await?;
        ensure!(reply["outcome"] == "refused", "{reply}");
    }
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_priority_is_refused_and_overtakes_nothing() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let mut publisher = attack.stack.publisher().await?;
    for (id, priority) in [("low", 1), ("high", 9)] {
        let properties = Publisher::properties(id).with_priority(priority);
        let reply = publisher.ask(sample().to_string(), properties).await?;
        let error = &reply["errors"][0];
        assert_eq!(error["code"], "BAD_REQUEST", "priority {priority}: {reply}");
        let found = publisher.take(PARKED).await?;
        assert_eq!(
            id_and_reason(&found),
            [Some(id), Some("BAD_REQUEST")].map(|text| text.map(ToOwned::to_owned))
        );
    }
    let properties = Publisher::properties("none").with_priority(0);
    let reply = publisher.ask(sample().to_string(), properties).await?;
    assert_eq!(
        reply["record"]["revision"], 1,
        "no other command was applied"
    );
    attack.others_were_unaffected().await
}

fn id_and_reason(found: &Found) -> [Option<String>; 2] {
    [id(found), found.header("x-reason")]
}

/// A command expires while no worker runs, and its client waits for the answer.
async fn expired(stack: &Stack) -> anyhow::Result<Publisher> {
    let publisher = stack.publisher().await?;
    let properties: BasicProperties = Publisher::properties("expired");
    let properties = properties.with_expiration("1".into());
    publisher.publish(sample().to_string(), properties).await?;
    eventually("the command to expire", async || {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = publisher
            .channel
            .queue_declare(QUEUE.into(), passive, FieldTable::default())
            .await?;
        Ok((queue.message_count() == 0).then_some(()))
    })
    .await?;
    Ok(publisher)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_command_is_parked_as_such_and_answered() -> anyhow::Result<()> {
    let (attack, mut publisher) = Attack::after(expired).await?;

    let found = publisher.take(PARKED).await?;
    assert_eq!(
        id_and_reason(&found),
        [Some("expired".to_owned()), Some("EXPIRED".to_owned())]
    );
    let reply: Value = publisher.reply("expired").await.context("no answer")?;
    assert_eq!(reply["outcome"], "refused");
    assert_eq!(reply["errors"][0]["code"], "EXPIRED");
    attack.others_were_unaffected().await
}
