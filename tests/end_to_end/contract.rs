//! The published contract, held against the real worker and by the tools of others.

use std::fs;

use anyhow::Context as _;
use dev::paths;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proto::Kind;
use serde_json::{Value, json};
use tests::{
    foreign::{node, output},
    stack::Stack,
};

fn golden() -> anyhow::Result<Vec<Value>> {
    let mut messages = Vec::new();
    for folder in ["valid", "invalid"] {
        for entry in fs::read_dir(paths::repository().join("proto/golden").join(folder))? {
            let text = fs::read_to_string(entry?.path())?;
            messages.push(serde_json::from_str(&text)?);
        }
    }
    Ok(messages)
}

fn properties(golden: &Value) -> BasicProperties {
    let text = |name: &str| golden["properties"][name].as_str();
    let mut headers = FieldTable::default();
    if let Some(subject) = golden["properties"]["headers"]["x-subject"].as_str() {
        headers.insert("x-subject".into(), AMQPValue::LongString(subject.into()));
    }
    let mut properties = BasicProperties::default()
        .with_headers(headers)
        .with_reply_to("amq.rabbitmq.reply-to".into());
    if let Some(kind) = text("type") {
        properties = properties.with_type(kind.into());
    }
    if let Some(content_type) = text("content_type") {
        properties = properties.with_content_type(content_type.into());
    }
    if let Some(id) = text("message_id") {
        properties = properties.with_message_id(id.into());
    }
    properties
}

/// What the worker answers to each golden message.
async fn answers(stack: &Stack) -> anyhow::Result<Vec<(Value, Value)>> {
    let mut publisher = stack.publisher().await?;
    let mut answers = Vec::new();
    for golden in golden()? {
        let body = match &golden["body"] {
            Value::String(raw) => raw.clone(),
            body => body.to_string(),
        };
        let properties = properties(&golden);
        let answer = if golden["properties"]["type"] == Kind::Delete.as_str() {
            publisher.delete(body, properties).await?
        } else {
            publisher.ask(body, properties).await?
        };
        answers.push((golden, answer));
    }
    Ok(answers)
}

#[tokio::test]
async fn the_worker_answers_golden_messages_as_published() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = stack.worker_with(Vec::new())?;
    worker.becomes("ready").await?;

    for (golden, mut answer) in answers(&stack).await? {
        if let Some(record) = answer.get_mut("record").and_then(Value::as_object_mut) {
            let id = record.remove("id").context("no id")?;
            assert_eq!(id.as_str().map(str::len), Some(36), "a UUID");
            assert!(record.remove("updatedAt").is_some());
        }
        assert_eq!(answer, golden["answer"], "{}", golden["description"]);
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn validators_that_others_wrote_accept_the_contract() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let worker = stack.worker_with(Vec::new())?;
    worker.becomes("ready").await?;
    let answers = answers(&stack).await?;
    let messages: Vec<_> = answers
        .iter()
        .map(|(golden, answer)| json!({ "golden": golden, "answer": answer }))
        .collect();
    let file = stack
        .servers
        .logs
        .join(format!("{}-golden.json", stack.vhost));
    fs::write(&file, json!(messages).to_string())?;

    let program = paths::repository().join("tests/clients/contract.mjs");
    let packages = ["@asyncapi/parser@3.6.6", "ajv@8.20.0", "ajv-formats@3.0.1"];
    let mut node = node(&program, &packages).await?;
    node.arg(paths::repository().join("proto")).arg(file);
    let printed = output(node).await?;

    assert!(printed.contains("the contract is valid"), "{printed}");
    Ok(())
}
