//! The exchanges and queues, as the contract describes them.

use lapin::types::{AMQPValue, FieldTable};
use proto::{MASK, amqp::topology};
use runtime::queue_depth;
use serde_json::{Value, json};
use tests::{api::sample_with, eventually, publisher::Publisher, stack::Stack};

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

/// The arguments that a queue was declared with.
async fn queue_arguments(stack: &Stack, queue: &str) -> anyhow::Result<Value> {
    let path = format!("queues/{}/{queue}", stack.vhost);
    Ok(stack.broker(&path).await?["arguments"].clone())
}

/// The arguments of a queue whose messages are kept for an operator.
fn kept_arguments(length: u64, bytes: u64) -> Value {
    json!({
        "x-queue-type": "quorum",
        "x-delivery-limit": i32::MAX,
        "x-overflow": "reject-publish",
        "x-max-length": length,
        "x-max-length-bytes": bytes,
    })
}

#[tokio::test]
async fn the_declared_topology_matches_the_contract() -> anyhow::Result<()> {
    let stack = Stack::start().await?;

    let queue = queue_arguments(&stack, topology::QUEUE).await?;
    let dead = queue_arguments(&stack, topology::DEAD).await?;
    let parked = queue_arguments(&stack, topology::PARKED).await?;
    let unreadable = queue_arguments(&stack, topology::UNREADABLE).await?;
    let events = stack
        .broker(&format!("exchanges/{}/ipack.events", stack.vhost))
        .await?;
    let path = format!("exchanges/{}/ipack.commands/bindings/source", stack.vhost);
    let bindings = stack.broker(&path).await?;

    assert_eq!(
        queue,
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
        dead,
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
    assert_eq!(parked, kept_arguments(100_000, 536_870_912));
    assert_eq!(unreadable, kept_arguments(10_000, 268_435_456));
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
        b"message",
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
    let message_left = emptied.await?;
    dev::broker::prepare(&stack.amqp_url).await?;

    let said = refused.err().map(|error| error.to_string());
    assert!(said.is_some_and(|said| said.contains("it holds 1 messages")));
    assert_eq!(
        message_left.map(|message| message.data.clone()),
        Some(b"message".to_vec())
    );
    // As this version declares them: it declares them again.
    dev::broker::prepare(&stack.amqp_url).await
}
