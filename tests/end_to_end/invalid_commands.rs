//! Commands that are invalid or that their publisher may not send: each is rejected alone.

use lapin::types::{AMQPValue, FieldTable};
use proto::{MASK, amqp::topology};
use serde_json::{Value, json};
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::{Found, Publisher},
    stack::Stack,
};

#[tokio::test]
async fn an_invalid_command_does_not_affect_the_rest_of_its_batch() -> anyhow::Result<()> {
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
async fn an_undecodable_command_is_refused_and_parked_without_its_body() -> anyhow::Result<()> {
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

/// Headers of which only `traceparent` may be in the parked copy.
fn foreign_headers() -> FieldTable {
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
    headers
}

/// The sorted names of the headers, without the one that RabbitMQ adds.
fn header_names(message: &Found) -> Vec<String> {
    let headers = message.properties.headers().clone().unwrap_or_default();
    let mut names: Vec<_> = headers.inner().keys().map(ToString::to_string).collect();
    // RabbitMQ adds this header to messages of a quorum queue.
    names.retain(|name| name != "x-delivery-count");
    names.sort();
    names
}

#[tokio::test]
async fn an_invalid_command_is_parked_redacted() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let mut input = sample_with("envId", "x".repeat(300));
    input["clientSecret"] = "hunter2-hunter2".into();
    input["oauthConnectorDetails"] = r#"{"authParams":{"a":"hunter2-hunter2"},"n":1}"#.into();

    let properties = Publisher::properties("bad").with_headers(foreign_headers());
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
    let mut expected = sample();
    expected["clientSecret"] = MASK.into();
    expected["oauthConnectorDetails"] =
        format!(r#"{{"authParams":{{"a":"{MASK}"}},"n":1}}"#).into();
    expected
        .as_object_mut()
        .map(|expected| expected.remove("envId"));
    assert_eq!(parked.body, expected);
    assert_eq!(
        header_names(&parked),
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
async fn a_parked_copy_contains_no_invalid_secret() -> anyhow::Result<()> {
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
async fn all_errors_of_a_body_are_reported() -> anyhow::Result<()> {
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
    // A publisher that may not write to every Space is the author itself, whatever its header says.
    let mut other_author = FieldTable::default();
    other_author.insert(
        "x-subject".into(),
        AMQPValue::LongString("somebody else".into()),
    );
    let named = |id: &str| {
        let properties = Publisher::properties(id).with_user_id(user.as_str().into());
        properties.with_headers(other_author.clone())
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
