//! Workers on standby, graceful stops, replies, replay and retention.

use lapin::types::{AMQPValue, FieldTable};
use proto::amqp::topology;
use serde_json::Value;
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

#[tokio::test]
async fn a_second_worker_stands_by_and_takes_over() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_worker().await?;
    let api = stack.api(SPACE)?;
    api.save(&sample()).await?.record()?;

    let first = stack.workers.remove(0);
    assert!(first.stop().await?);
    let saved = api.save(&sample()).await?.record()?;

    assert_eq!(saved["revision"], 2);
    Ok(())
}

#[tokio::test]
async fn a_stopping_worker_finishes_its_batch() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    stack.start_worker().await?;
    let mut publisher = stack.publisher().await?;

    for n in 0..400 {
        let body = sample_with("clientId", format!("client {n}")).to_string();
        publisher
            .publish(body, Publisher::properties(&format!("save {n}")))
            .await?;
        if n == 200 {
            assert!(stack.workers.remove(0).stop().await?);
        }
    }
    let last = publisher
        .ask(sample().to_string(), Publisher::properties("last"))
        .await?;

    assert_eq!(last["record"]["revision"], 401);
    let in_order: bool = sqlx::query_scalar(
        "select bool_and(command_id = 'save ' || revision - 1) from connector_details_ledger
         where command_id <> 'last'",
    )
    .fetch_one(&stack.database)
    .await?;
    assert!(
        in_order,
        "the next worker overtook what the first had in hand"
    );
    Ok(())
}

#[tokio::test]
async fn replies_go_only_where_the_contract_allows() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let victim = "somebody.else";
    let own = "ipack.reply.test";
    for queue in [victim, own] {
        publisher
            .channel
            .queue_declare(
                queue.into(),
                lapin::options::QueueDeclareOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }

    for (id, reply_to) in [
        ("a", victim),
        ("b", topology::QUEUE),
        ("c", topology::PARKED),
        ("d", own),
    ] {
        let properties = Publisher::properties(id).with_reply_to(reply_to.into());
        publisher.publish(sample().to_string(), properties).await?;
    }
    let fence = publisher
        .ask(sample().to_string(), Publisher::properties("e"))
        .await?;

    assert_eq!(fence["record"]["revision"], 5);
    assert!(publisher.get(victim).await?.is_none());
    assert!(publisher.get(topology::PARKED).await?.is_none());
    let reply = publisher.take(own).await?;
    assert_eq!(reply.body["commandId"], "d");
    let id = reply
        .properties
        .correlation_id()
        .as_ref()
        .map(ToString::to_string);
    assert_eq!(
        id.as_deref(),
        Some("d"),
        "the message id where no other was named"
    );
    Ok(())
}

#[tokio::test]
async fn replies_are_batched_for_clients_that_accept_it() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let own = "ipack.reply.test";
    publisher
        .channel
        .queue_declare(
            own.into(),
            lapin::options::QueueDeclareOptions::default(),
            FieldTable::default(),
        )
        .await?;

    for id in ["a", "b", "c"] {
        let mut headers = FieldTable::default();
        headers.insert("x-pack-replies".into(), AMQPValue::Boolean(true));
        let properties = Publisher::properties(id)
            .with_reply_to(own.into())
            .with_headers(headers);
        publisher.publish(sample().to_string(), properties).await?;
    }
    let mut answered = Vec::new();
    while answered.len() < 3 {
        let message = publisher.take(own).await?;
        let kind = message.properties.kind().as_ref().map(ToString::to_string);
        assert_eq!(kind.as_deref(), Some("SaveConnectorDetailsReplies.v1"));
        for packed in message.body.as_array().into_iter().flatten() {
            assert_eq!(packed["correlationId"], packed["reply"]["commandId"]);
            answered.push((
                packed["correlationId"].clone(),
                packed["reply"]["record"]["revision"].clone(),
            ));
        }
    }

    let expected: Vec<(Value, Value)> = [("a", 1), ("b", 2), ("c", 3)]
        .map(|(id, revision)| (id.into(), revision.into()))
        .into();
    assert_eq!(answered, expected);
    Ok(())
}

#[tokio::test]
async fn parked_commands_are_replayed_with_one_effect() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let strict_worker = stack.worker_with(vec![("PUBLISHERS", "{}".to_owned())])?;
    strict_worker.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    let refused = publisher
        .ask(sample().to_string(), Publisher::properties("one"))
        .await?;
    publisher
        .ask("not JSON", Publisher::properties("two"))
        .await?;
    assert!(strict_worker.stop().await?);
    stack.start_worker().await?;
    let replay = async |arguments: &[&str]| -> anyhow::Result<String> {
        let mut command = stack.program("worker", &[&["replay"], arguments].concat())?;
        let output = command.env("AMQP_URL", &stack.amqp_url).output().await?;
        anyhow::ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut lines: Vec<_> = std::str::from_utf8(&output.stdout)?.lines().collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    };
    let lost = "can't be sent: its body or id could not be kept\ttwo\tBAD_REQUEST";

    let dry = replay(&["--dry-run"]).await?;
    let other = replay(&["--reason", "CONFLICT"]).await?;
    let first = replay(&[]).await?;
    let second = replay(&[]).await?;
    let again = publisher
        .ask(sample().to_string(), Publisher::properties("one"))
        .await?;

    assert_eq!(refused["errors"][0]["code"], "FORBIDDEN");
    assert_eq!(dry, format!("{lost}\nwould be sent\tone\tFORBIDDEN"));
    assert_eq!(other, "left\tone\tFORBIDDEN\nleft\ttwo\tBAD_REQUEST");
    assert_eq!(first, format!("{lost}\nsent\tone\tFORBIDDEN"));
    assert_eq!(second, lost);
    assert_eq!(
        again["record"]["revision"], 1,
        "the replayed one was decided, and only once"
    );
    Ok(())
}

#[tokio::test]
async fn the_ledger_deletes_only_rows_past_their_retention() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    for id in ["old", "young"] {
        publisher
            .ask(sample().to_string(), Publisher::properties(id))
            .await?;
    }
    sqlx::query(
        "update connector_details_ledger set decided_at = now() - interval '31 days'
         where command_id = 'old'",
    )
    .execute(&stack.database)
    .await?;
    assert!(stack.workers.remove(0).stop().await?);

    let retention = ("LEDGER_RETENTION", "30d".to_owned());
    let worker = stack.worker_with(vec![retention])?;
    worker.becomes("ready").await?;
    eventually("the old decision to be forgotten", async || {
        let left: Vec<String> =
            sqlx::query_scalar("select command_id from connector_details_ledger")
                .fetch_all(&stack.database)
                .await?;
        Ok((left == ["young"]).then_some(()))
    })
    .await?;
    let ask = async |publisher: &mut Publisher, id: &str| {
        let answer = publisher.ask(sample().to_string(), Publisher::properties(id));
        anyhow::Ok(answer.await?["record"]["revision"].clone())
    };

    assert_eq!(ask(&mut publisher, "young").await?, 2, "as it was decided");
    assert_eq!(ask(&mut publisher, "old").await?, 3, "decided again");
    Ok(())
}
