//! The published contract, held against the real worker and by the tools of others.

use std::{collections::HashSet, fs};

use anyhow::{Context as _, ensure};
use dev::paths;
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use proto::amqp::topology;
use serde_json::{Value, json};
use tests::{
    external_clients::{node, output},
    golden::{self, ANSWERED, described, replace_generated},
    publisher::{Found, Publisher},
    stack::Stack,
};

const EVENTS: &str = "test.events";

/// A golden message, and what came of it in truth.
struct Played {
    name: String,
    golden: Value,
    answer: Value,
    parked: Option<Found>,
    event: Option<Found>,
}

/// Publishes golden messages one after the other, and takes everything that comes of each.
struct Player {
    publisher: Publisher,
    /// The ids that were used: a repeat gets the same answer and publishes no event.
    ids: HashSet<String>,
}

impl Player {
    async fn start(stack: &Stack) -> anyhow::Result<Self> {
        Ok(Self {
            publisher: stack.publisher().await?.listening(EVENTS).await?,
            ids: HashSet::new(),
        })
    }

    async fn play(&mut self, name: String, golden: Value) -> anyhow::Result<Played> {
        for before in golden["before"].as_array().into_iter().flatten() {
            let (answer, ..) = self.send(before).await.context(name.clone())?;
            ensure!(answer["outcome"] == "saved", "{name}: {answer}");
        }
        let (answer, parked, event) = self.send(&golden).await.context(name.clone())?;
        Ok(Played {
            name,
            golden,
            answer,
            parked,
            event,
        })
    }

    async fn send(
        &mut self,
        message: &Value,
    ) -> anyhow::Result<(Value, Option<Found>, Option<Found>)> {
        let key = message["routingKey"].as_str().context("no routing key")?;
        let properties = golden::properties(message)?.with_reply_to("amq.rabbitmq.reply-to".into());
        let body = golden::body(message);
        let answer = self.publisher.ask_by(key, body, properties).await?;
        let id = answer["commandId"].as_str().unwrap_or_default();
        let is_new = self.ids.insert(id.to_owned());
        let is_refused = answer["outcome"] == "refused";
        let parked = if is_refused && answer["errors"][0]["code"] != "CONFLICT" {
            Some(self.publisher.take(topology::PARKED).await?)
        } else {
            None
        };
        let event = if answer["record"].is_object() && is_new {
            Some(self.publisher.take(EVENTS).await?)
        } else {
            None
        };
        Ok((answer, parked, event))
    }
}

/// Plays every golden message that has an answer of its own.
async fn play_all(stack: &Stack) -> anyhow::Result<Vec<Played>> {
    let mut player = Player::start(stack).await?;
    let mut all = Vec::new();
    for folder in ANSWERED {
        for (name, golden) in golden::folder(folder)? {
            // It has to expire before a worker is there.
            if golden["properties"]["expiration"].is_null() {
                all.push(player.play(name, golden).await?);
            }
        }
    }
    assert!(player.publisher.get(topology::PARKED).await?.is_none());
    assert!(player.publisher.get(EVENTS).await?.is_none());
    Ok(all)
}

/// Asserts that each of the golden properties, and each header, is what the message has.
fn assert_properties(found: &Found, golden: &Value, name: &str) {
    let mut actual = described(&found.properties);
    replace_generated(&mut actual, golden);
    for (property, expected) in golden.as_object().into_iter().flatten() {
        assert_eq!(&actual[property], expected, "{name}: {property}");
    }
    for property in ["expiration", "priority", "reply_to", "content_encoding"] {
        assert_eq!(actual[property], Value::Null, "{name}: {property}");
    }
}

fn assert_parked(
    parked: &Found,
    Played {
        name,
        golden,
        answer,
        ..
    }: &Played,
) {
    let fault = &answer["errors"][0];
    assert_eq!(
        parked.header("x-reason").as_deref(),
        fault["code"].as_str(),
        "{name}"
    );
    assert_eq!(
        parked.header("x-field").as_deref(),
        fault["field"].as_str(),
        "{name}"
    );
    let golden = &golden["parked"];
    if golden.is_object() {
        assert_properties(parked, &golden["properties"], name);
        let body = golden::body(golden);
        if body.is_empty() {
            assert_eq!(parked.raw, b"", "{name}");
        } else {
            assert_eq!(parked.body, golden["body"], "{name}");
        }
    }
}

fn assert_event(
    event: &Found,
    Played {
        name,
        golden,
        answer,
        ..
    }: &Played,
) {
    let golden = &golden["event"];
    let mut body = event.body.clone();
    assert_eq!(body["commandId"], answer["commandId"], "{name}");
    assert_eq!(body["record"], answer["record"], "{name}");
    if golden.is_object() {
        let mut properties = golden["properties"].clone();
        // The record's id is another each time, and stands in the message's.
        let ids = [&body, &golden["body"]].map(|body| body["record"]["id"].as_str());
        let [Some(id), Some(golden_id)] = ids else {
            panic!("{name}: no id");
        };
        let message_id = properties["message_id"].as_str().unwrap_or_default();
        properties["message_id"] = message_id.replace(golden_id, id).into();
        assert_properties(event, &properties, name);
        replace_generated(&mut body, &golden["body"]);
        assert_eq!(body, golden["body"], "{name}");
    }
}

#[tokio::test]
async fn the_worker_answers_golden_messages_as_published() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = stack.worker_with(Vec::new())?;
    worker.becomes("ready").await?;

    let played = play_all(&stack).await?;

    for one in &played {
        let mut answer = one.answer.clone();
        if let Some(id) = answer["record"]["id"].as_str() {
            assert_eq!(id.len(), 36, "a UUID");
        }
        replace_generated(&mut answer, &one.golden["answer"]);
        assert_eq!(answer, one.golden["answer"], "{}", one.name);
        if let Some(parked) = &one.parked {
            assert_parked(parked, one);
        }
        if let Some(event) = &one.event {
            assert_event(event, one);
        }
        for (part, is_there) in [
            ("parked", one.parked.is_some()),
            ("event", one.event.is_some()),
        ] {
            let is_promised = one.golden[part].is_object();
            assert!(is_there || !is_promised, "{}: {part}", one.name);
        }
    }
    Ok(())
}

/// Publishes the messages of a golden pack, and takes replies until there is one for each.
async fn packed(stack: &Stack, golden: &Value) -> anyhow::Result<Vec<Found>> {
    let queue = "ipack.reply.golden";
    let publisher = stack.publisher().await?;
    let options = QueueDeclareOptions::default();
    let declared = publisher
        .channel
        .queue_declare(queue.into(), options, FieldTable::default());
    declared.await?;
    let sent = golden["sent"].as_array().context("nothing to send")?;
    for message in sent {
        let key = message["routingKey"].as_str().context("no routing key")?;
        let properties = golden::properties(message)?.with_reply_to(queue.into());
        let body = golden::body(message);
        publisher.publish_by(key, body, properties).await?;
    }
    let mut found = Vec::new();
    let mut replies = 0;
    while replies < sent.len() {
        let message = publisher.take(queue).await?;
        replies += message.body.as_array().map_or(0, Vec::len);
        found.push(message);
    }
    Ok(found)
}

#[tokio::test]
async fn batched_replies_match_the_golden_message() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = stack.worker_with(Vec::new())?;
    worker.becomes("ready").await?;
    let golden = golden::one("replies/packed")?;

    let found = packed(&stack, &golden).await?;

    let mut replies = Vec::new();
    for message in &found {
        assert_properties(message, &golden["packed"]["properties"], "packed");
        replies.extend(message.body.as_array().cloned().unwrap_or_default());
    }
    let mut replies = Value::from(replies);
    replace_generated(&mut replies, &golden["packed"]["body"]);
    assert_eq!(replies, golden["packed"]["body"]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn public_validators_accept_the_contract() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = stack.worker_with(Vec::new())?;
    worker.becomes("ready").await?;
    let body = |found: &Option<Found>| found.as_ref().map(|found| found.body.clone());
    let messages: Vec<_> = play_all(&stack)
        .await?
        .iter()
        .map(|one| {
            json!({
                "name": one.name, "golden": one.golden, "answer": one.answer,
                "event": body(&one.event), "parked": body(&one.parked),
            })
        })
        .collect();
    let golden = golden::one("replies/packed")?;
    let packs: Vec<_> = packed(&stack, &golden)
        .await?
        .into_iter()
        .map(|found| found.body)
        .chain([golden["packed"]["body"].clone()])
        .collect();
    let file = stack
        .servers
        .logs
        .join(format!("{}-golden.json", stack.vhost));
    let played = json!({ "messages": messages, "packs": packs });
    fs::write(&file, played.to_string())?;

    let program = paths::repository().join("tests/clients/contract.mjs");
    let packages = ["@asyncapi/parser@3.6.6", "ajv@8.20.0", "ajv-formats@3.0.1"];
    let mut node = node(&program, &packages).await?;
    node.arg(paths::repository().join("proto")).arg(file);
    let printed = output(node).await?;

    assert!(printed.contains("the contract is valid"), "{printed}");
    Ok(())
}
