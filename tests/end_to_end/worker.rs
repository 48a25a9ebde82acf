//! The worker and those who publish to it themselves.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable};
use proto::{MASK, amqp::topology};
use runtime::queue_depth;
use serde_json::{Value, json};
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

#[tokio::test]
async fn one_bad_command_never_takes_its_neighbours_with_it() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    // All of them are waiting when the worker starts, so that they come in one batch.
    for n in 0..40 {
        let body = match n {
            7 => "not JSON".to_owned(),
            15 => sample_with("envId", "").to_string(),
            23 => "[]".to_owned(),
            _ => sample_with("envId", format!("env {n}")).to_string(),
        };
        publisher
            .publish(body, Publisher::properties(&format!("save {n}")))
            .await?;
    }

    stack.start_worker().await?;

    eventually("the neighbours to be saved", async || {
        let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
            .fetch_one(&stack.database)
            .await?;
        Ok((saved == 37).then_some(()))
    })
    .await?;
    let mut parked = Vec::new();
    for _ in 0..3 {
        let found = publisher.take(topology::PARKED).await?;
        let id = found
            .properties
            .message_id()
            .as_ref()
            .map(ToString::to_string);
        parked.push((
            id.unwrap_or_default(),
            found.header("x-reason").unwrap_or_default(),
        ));
    }
    parked.sort();
    let expected = [
        ("save 15", "BAD_USER_INPUT"),
        ("save 23", "BAD_REQUEST"),
        ("save 7", "BAD_REQUEST"),
    ];
    assert_eq!(
        parked,
        expected.map(|(id, reason)| (id.to_owned(), reason.to_owned()))
    );
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_decoded_is_answered_and_parked_without_its_body() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let cases = [
        ("not JSON", Publisher::properties("a"), Value::Null),
        ("[1]", Publisher::properties("b"), Value::Null),
        (
            r#"{"envId":"1","envId":"2"}"#,
            Publisher::properties("c"),
            Value::Null,
        ),
        (r#"{"unknown":1}"#, Publisher::properties("d"), Value::Null),
        (
            "{}",
            Publisher::properties("e").with_type("Other".into()),
            json!("type"),
        ),
        (
            "{}",
            Publisher::properties("f").with_content_type("text/plain".into()),
            json!("content_type"),
        ),
        ("{}", Publisher::properties(" "), json!("message_id")),
    ];

    for (body, properties, field) in cases {
        let id = properties
            .message_id()
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let reply = publisher.ask(body, properties).await?;
        let parked = publisher.take(topology::PARKED).await?;

        assert_eq!(reply["outcome"], "refused");
        assert_eq!(reply["errors"][0]["code"], "BAD_REQUEST", "{body}");
        assert_eq!(reply["errors"][0]["field"], field);
        assert_eq!(parked.header("x-reason").as_deref(), Some("BAD_REQUEST"));
        assert_eq!(parked.header("x-field").as_deref(), field.as_str());
        assert_eq!(
            parked.header("x-body-bytes"),
            Some(format!("LongLongInt({})", body.len()))
        );
        if field.is_null() {
            assert_eq!(reply["commandId"], id);
            assert!(parked.raw.is_empty(), "{:?}", parked.body);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_invalid_is_parked_redacted() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let mut input = sample_with("envId", "x".repeat(300));
    input["clientSecret"] = "hunter2-hunter2".into();
    input["oauthConnectorDetails"] = r#"{"authParams":{"a":"hunter2-hunter2"},"n":1}"#.into();
    let mut headers = FieldTable::default();
    headers.insert("x-foreign".into(), AMQPValue::LongString("hunter2".into()));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert(
        "traceparent".into(),
        AMQPValue::LongString(traceparent.into()),
    );
    headers.insert(
        "tracestate".into(),
        AMQPValue::LongString("x".repeat(513).into()),
    );

    let properties = Publisher::properties("bad").with_headers(headers);
    let reply = publisher.ask(input.to_string(), properties).await?;
    let parked = publisher.take(topology::PARKED).await?;

    assert_eq!(
        reply,
        json!({
            "commandId": "bad",
            "outcome": "refused",
            "errors": [{
                "code": "BAD_USER_INPUT",
                "field": "envId",
                "message": "envId must be at most 255 bytes of UTF-8.",
            }],
        })
    );
    let mut kept = sample();
    kept["clientSecret"] = MASK.into();
    kept["oauthConnectorDetails"] = format!(r#"{{"authParams":{{"a":"{MASK}"}},"n":1}}"#).into();
    kept.as_object_mut().map(|kept| kept.remove("envId"));
    assert_eq!(parked.body, kept);
    let headers = parked.properties.headers().clone().unwrap_or_default();
    let mut names: Vec<_> = headers.inner().keys().map(ToString::to_string).collect();
    // The broker's own, for whoever takes a message out of a quorum queue.
    names.retain(|name| name != "x-delivery-count");
    names.sort();
    assert_eq!(
        names,
        [
            "traceparent",
            "x-body-bytes",
            "x-field",
            "x-parked-at",
            "x-reason"
        ]
    );
    assert_eq!(
        parked
            .properties
            .app_id()
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("test")
    );
    Ok(())
}

#[tokio::test]
async fn a_parked_copy_holds_no_secret_that_is_invalid() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let long = format!("{}hunter2-hunter2", " ".repeat(20_000));
    for secret in [
        json!(long),
        json!(["hunter2-hunter2"]),
        json!({ "a": "hunter2-hunter2" }),
    ] {
        let mut input = sample_with("clientSecret", secret);
        input["oauthConnectorDetails"] = r#"{"authParams":{"a":"hunter2-hunter2"}}"#.into();

        let reply = publisher
            .ask(input.to_string(), Publisher::properties("bad"))
            .await?;
        let parked = publisher.take(topology::PARKED).await?;

        assert_eq!(reply["errors"][0]["field"], "clientSecret");
        assert_eq!(parked.body["clientSecret"], MASK);
        assert_eq!(parked.body["processId"], sample()["processId"]);
        assert!(!parked.body.to_string().contains("hunter2"));
    }
    Ok(())
}

#[tokio::test]
async fn all_faults_of_a_body_are_answered() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;

    let shape = publisher.ask(
        r#"{"envId":5,"isTokenGenerated":"x"}"#,
        Publisher::properties("a"),
    );
    let shape = shape.await?;
    let mut input = sample_with("envId", "");
    input["clientSecret"] = "".into();
    let values = publisher
        .ask(input.to_string(), Publisher::properties("b"))
        .await?;

    let fields = |reply: &Value| {
        let errors = reply["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["field"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(fields(&shape).len(), 9);
    assert_eq!(fields(&values), ["envId", "clientSecret"]);
    Ok(())
}

#[tokio::test]
async fn a_publisher_writes_to_its_own_spaces_only() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let user = stack.uri()?.authority.userinfo.username;
    let publishers = json!({ user.as_str(): [SPACE] }).to_string();
    let worker = stack.worker_with(vec![("PUBLISHERS", publishers)])?;
    worker.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    // Whoever may not write to every Space is the author itself, whatever it says.
    let mut somebody = FieldTable::default();
    somebody.insert(
        "x-subject".into(),
        AMQPValue::LongString("somebody else".into()),
    );
    let named = |id: &str| {
        let properties = Publisher::properties(id).with_user_id(user.as_str().into());
        properties.with_headers(somebody.clone())
    };
    let elsewhere = sample_with("catalogGuid", "another Space").to_string();

    let own = publisher.ask(sample().to_string(), named("own")).await?;
    let other = publisher.ask(&elsewhere, named("other")).await?;
    let parked_other = publisher.take(topology::PARKED).await?;
    let unnamed = publisher
        .ask(sample().to_string(), Publisher::properties("unnamed"))
        .await?;
    let parked_unnamed = publisher.take(topology::PARKED).await?;

    assert_eq!(own["outcome"], "saved");
    assert_eq!(own["record"]["updatedBy"], user.as_str());
    for (reply, parked) in [(other, parked_other), (unnamed, parked_unnamed)] {
        assert_eq!(reply["errors"][0]["code"], "FORBIDDEN");
        assert_eq!(parked.header("x-reason").as_deref(), Some("FORBIDDEN"));
        assert_eq!(parked.body["clientSecret"], MASK);
    }
    Ok(())
}

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
async fn a_worker_leaves_by_finishing_its_batch() -> anyhow::Result<()> {
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
async fn replies_share_a_message_with_those_who_ask_for_it() -> anyhow::Result<()> {
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
async fn dead_letters_are_parked_redacted_and_not_handled() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let body = sample_with("clientSecret", "hunter2-hunter2").to_string();

    publisher
        .channel
        .basic_publish(
            topology::DEAD_LETTERS.into(),
            topology::DEAD_LETTER.into(),
            lapin::options::BasicPublishOptions::default(),
            body.as_bytes(),
            Publisher::properties("dead").with_delivery_mode(2),
        )
        .await?
        .await?;
    let parked = publisher.take(topology::PARKED).await?;

    assert_eq!(
        parked.header("x-reason").as_deref(),
        Some("INTERNAL_SERVER_ERROR")
    );
    assert_eq!(parked.body["clientSecret"], MASK);
    let decided: i64 = sqlx::query_scalar("select count(*) from connector_details_ledger")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(decided, 0);
    Ok(())
}

#[tokio::test]
async fn the_topology_is_the_contract() -> anyhow::Result<()> {
    let stack = Stack::start().await?;

    let queue = stack
        .broker(&format!("queues/{}/{}", stack.vhost, topology::QUEUE))
        .await?;
    let dead = stack
        .broker(&format!("queues/{}/{}", stack.vhost, topology::DEAD))
        .await?;
    let parked = stack
        .broker(&format!("queues/{}/{}", stack.vhost, topology::PARKED))
        .await?;
    let unreadable = stack
        .broker(&format!("queues/{}/{}", stack.vhost, topology::UNREADABLE))
        .await?;
    let events = stack
        .broker(&format!("exchanges/{}/ipack.events", stack.vhost))
        .await?;
    let path = format!("exchanges/{}/ipack.commands/bindings/source", stack.vhost);
    let bindings = stack.broker(&path).await?;

    assert_eq!(
        queue["arguments"],
        json!({
            "x-queue-type": "quorum",
            "x-single-active-consumer": true,
            "x-delivery-limit": 20,
            "x-dead-letter-exchange": "ipack.dlx",
            "x-dead-letter-routing-key": "connector-details.v1",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": 1_000_000,
            "x-max-length-bytes": 1_073_741_824_u64,
        })
    );
    assert_eq!(
        dead["arguments"],
        json!({
            "x-queue-type": "quorum",
            "x-delivery-limit": 3,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": topology::UNREADABLE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": 100_000,
            "x-max-length-bytes": 1_073_741_824_u64,
        })
    );
    for (queue, length, bytes) in [
        (&parked, 100_000, 536_870_912_u64),
        (&unreadable, 10_000, 268_435_456),
    ] {
        assert_eq!(
            queue["arguments"],
            json!({
                "x-queue-type": "quorum",
                "x-delivery-limit": i32::MAX,
                "x-overflow": "reject-publish",
                "x-max-length": length,
                "x-max-length-bytes": bytes,
            })
        );
    }
    assert_eq!(
        (&events["type"], &events["durable"]),
        (&json!("topic"), &json!(true))
    );
    let keys = bindings.as_array().into_iter().flatten();
    let mut keys: Vec<_> = keys.map(|binding| &binding["routing_key"]).collect();
    keys.sort_by_key(ToString::to_string);
    assert_eq!(
        keys,
        ["delete-connector-details.v1", "save-connector-details.v1"]
    );
    Ok(())
}

#[tokio::test]
async fn the_dev_stack_replaces_empty_queues_of_an_older_version_and_no_others()
-> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let connection = runtime::broker::connect(&stack.uri()?, "an older version").await?;
    let channel = connection.create_channel().await?;
    let mut quorum = FieldTable::default();
    quorum.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let durable = lapin::options::QueueDeclareOptions {
        durable: true,
        ..lapin::options::QueueDeclareOptions::default()
    };
    for queue in [topology::PARKED, topology::DEAD] {
        let declare = channel.queue_declare(queue.into(), durable, quorum.clone());
        declare.await?;
    }
    let publish = channel.basic_publish(
        "".into(),
        topology::DEAD.into(),
        lapin::options::BasicPublishOptions::default(),
        b"kept",
        lapin::BasicProperties::default(),
    );
    publish.await?.await?;
    eventually("the dead letter", async || {
        let depth = queue_depth::depth(&channel, topology::DEAD).await?;
        Ok((depth.messages == 1).then_some(()))
    })
    .await?;

    let refused = dev::broker::prepare(&stack.amqp_url).await;
    let emptied = channel.basic_get(
        topology::DEAD.into(),
        lapin::options::BasicGetOptions { no_ack: true },
    );
    let kept = emptied.await?;
    dev::broker::prepare(&stack.amqp_url).await?;

    let said = refused.err().map(|error| error.to_string());
    assert!(said.is_some_and(|said| said.contains("1 messages are in it")));
    assert_eq!(
        kept.map(|message| message.data.clone()),
        Some(b"kept".to_vec())
    );
    // As this version declares them: it declares them again.
    dev::broker::prepare(&stack.amqp_url).await
}

/// Publishes 30 commands, of which the eleventh is poison, while no worker runs.
async fn poisoned(stack: &Stack, publisher: &Publisher) -> anyhow::Result<()> {
    for n in 0..30 {
        let id = if n == 10 {
            "poison".to_owned()
        } else {
            format!("save {n}")
        };
        let body = sample_with("processId", id.as_str()).to_string();
        publisher.publish(body, Publisher::properties(&id)).await?;
    }
    let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(saved, 0, "the worker runs already");
    Ok(())
}

async fn only_the_poison_is_parked(stack: &Stack, publisher: &Publisher) -> anyhow::Result<()> {
    let parked = publisher.take(topology::PARKED).await?;
    assert_eq!(parked.body["processId"], "poison");
    assert_eq!(
        parked.header("x-reason").as_deref(),
        Some("INTERNAL_SERVER_ERROR")
    );
    eventually("the neighbours to be saved", async || {
        let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
            .fetch_one(&stack.database)
            .await?;
        Ok((saved == 29).then_some(()))
    })
    .await?;
    assert!(
        publisher.get(topology::PARKED).await?.is_none(),
        "a neighbour was parked"
    );
    Ok(())
}

#[tokio::test]
async fn a_command_whose_handling_panics_is_parked_alone() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    poisoned(&stack, &publisher).await?;

    let mut worker = stack.worker_with(vec![("FAILPOINT", "panic:poison".to_owned())])?;

    only_the_poison_is_parked(&stack, &publisher).await?;
    assert!(
        !worker.ends_within(Duration::ZERO).await?,
        "the worker died of it"
    );
    Ok(())
}

#[tokio::test]
async fn a_command_that_kills_the_worker_is_parked_alone() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    poisoned(&stack, &publisher).await?;

    let mut deaths = 0;
    // The contract's delivery limit is 20, and the first death is in good company.
    for _ in 0..30 {
        let mut worker = stack.worker_with(vec![("FAILPOINT", "abort:poison".to_owned())])?;
        if !worker.ends_within(Duration::from_secs(5)).await? {
            break;
        }
        deaths += 1;
    }
    let _worker = stack.worker_with(vec![("FAILPOINT", "abort:poison".to_owned())])?;

    only_the_poison_is_parked(&stack, &publisher).await?;
    assert_eq!(
        deaths, 21,
        "the limit allows one delivery more than its number"
    );
    Ok(())
}

#[tokio::test]
async fn parked_commands_are_replayed_with_one_effect() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let nobody = stack.worker_with(vec![("PUBLISHERS", "{}".to_owned())])?;
    nobody.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    let refused = publisher
        .ask(sample().to_string(), Publisher::properties("one"))
        .await?;
    publisher
        .ask("not JSON", Publisher::properties("two"))
        .await?;
    assert!(nobody.stop().await?);
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
async fn the_ledger_forgets_what_is_older_than_its_retention_and_nothing_else() -> anyhow::Result<()>
{
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
        let kept: Vec<String> =
            sqlx::query_scalar("select command_id from connector_details_ledger")
                .fetch_all(&stack.database)
                .await?;
        Ok((kept == ["young"]).then_some(()))
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
