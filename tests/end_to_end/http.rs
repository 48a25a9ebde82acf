//! GraphQL over HTTP, the gateway's health, and its schema.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    api::{Api, FIND, SAVE, SECRET, SPACE, key, sample},
    stack::Stack,
};

#[tokio::test]
async fn requests_are_negotiated_strictly() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let graphql_json = "application/graphql-response+json";

    let plain = api
        .with("content-type", "text/plain")
        .save(&sample())
        .await?;
    let html = api.with("accept", "text/html").save(&sample()).await?;
    let malformed = api.post("{").await?;
    let batch = api.post("[]").await?;
    let empty = api.post("{}").await?;
    let large = api.post("x".repeat(256 * 1024 + 1)).await?;
    let newer = api
        .with("accept", graphql_json)
        .post(r#"{"query":"{"}"#)
        .await?;
    let older = api.post(r#"{"query":"{"}"#).await?;
    let deep = api
        .post(json!({ "query": "{a".repeat(60_000) }).to_string())
        .await?;

    for (answer, status, code) in [
        (plain, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (html, 406, "NOT_ACCEPTABLE"),
        (malformed, 400, "BAD_REQUEST"),
        (batch, 400, "BAD_REQUEST"),
        (empty, 400, "BAD_REQUEST"),
        (large, 413, "PAYLOAD_TOO_LARGE"),
        (newer.clone(), 400, "GRAPHQL_PARSE_FAILED"),
        (older, 200, "GRAPHQL_PARSE_FAILED"),
        (deep, 200, "GRAPHQL_PARSE_FAILED"),
    ] {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{}",
            answer.body
        );
        assert!(answer.body.get("data").is_none());
    }
    assert!(newer.header("content-type").starts_with(graphql_json));
    Ok(())
}

#[tokio::test]
async fn a_mutation_is_not_executed_by_get() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let input = json!({ "input": sample() }).to_string();

    let saved = api.get(&[("query", SAVE), ("variables", &input)]).await?;
    let found = json!({ "input": key(&sample()) }).to_string();
    let found = api.get(&[("query", FIND), ("variables", &found)]).await?;

    assert_eq!(
        (saved.status, saved.code().as_str()),
        (405, "METHOD_NOT_ALLOWED")
    );
    assert_eq!(found.record()?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_wrong_request_for_a_subscription_is_answered_logged_and_counted() -> anyhow::Result<()> {
    use reqwest::Method;

    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let client = reqwest::Client::new();

    for (method, path, status, code, allowed) in [
        (
            Method::GET,
            "stream",
            405,
            "METHOD_NOT_ALLOWED",
            Some("POST"),
        ),
        (Method::POST, "ws", 405, "METHOD_NOT_ALLOWED", Some("GET")),
        (Method::GET, "ws", 400, "BAD_REQUEST", None),
    ] {
        let url = format!("{}/graphql/{path}", gateway.url);
        let answer = client.request(method, url).send().await?;
        let (answered, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let extensions = &body["errors"][0]["extensions"];
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());

        assert_eq!(answered, status, "{path}: {body}");
        assert_eq!(extensions["code"], code, "{path}");
        assert_eq!(header("allow"), allowed, "{path}");
        let id = extensions["requestId"].as_str();
        assert_eq!(header("x-request-id"), id, "{path}");
        let log = std::fs::read_to_string(&gateway.log)?;
        assert!(id.is_some_and(|id| log.contains(id)), "{path}: {id:?}");
    }
    let total = "connector_details_requests_total";
    let line = format!(r#"{total}{{service="gateway",kind="none",code="METHOD_NOT_ALLOWED"}}"#);
    let counted = gateway.metric(&line).await?;
    assert!((counted - 2.0).abs() < 0.5, "{counted}");
    Ok(())
}

#[tokio::test]
async fn saves_without_a_broker_are_refused_at_once() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let nowhere = format!("amqp://u:p@127.0.0.1:{}/%2f", dev::paths::free_port(None)?);
    let gateway = stack.gateway_with(vec![
        ("JWT_SECRET", SECRET.to_owned()),
        ("AMQP_URL", nowhere),
    ])?;
    gateway.becomes("not ready").await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let started = Instant::now();

    let saved = api.save(&sample()).await?;
    let took = started.elapsed();
    let found = api.find(&sample()).await?;

    assert_eq!(saved.code(), "SERVICE_UNAVAILABLE");
    // A save that waits for its reply takes 5 s.
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(found.record()?, Value::Null, "reads need no broker");
    let (status, health) = gateway.health().await?;
    assert_eq!(status, 503);
    assert_eq!(
        (&health["broker"], &health["database"]),
        (&json!("down"), &json!("up"))
    );
    Ok(())
}

#[tokio::test]
async fn saves_are_accepted_without_a_database() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let nowhere = format!(
        "postgres://u:p@127.0.0.1:{}/x",
        dev::paths::free_port(None)?
    );
    let gateway = stack.gateway_with(vec![
        ("JWT_SECRET", SECRET.to_owned()),
        ("DATABASE_URL", nowhere),
    ])?;
    gateway.becomes("degraded").await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let saved = api.save(&sample()).await?;
    let found = api.find(&sample()).await?;

    assert_eq!(saved.record()?["revision"], 1);
    assert_eq!(found.code(), "SERVICE_UNAVAILABLE");
    let (status, health) = gateway.health().await?;
    assert_eq!((status, &health["database"]), (200, &json!("down")));
    Ok(())
}

#[tokio::test]
async fn a_gateway_reports_not_ready_before_it_stops() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let variables = vec![
        ("JWT_SECRET", SECRET.to_owned()),
        ("SHUTDOWN_DELAY", "2s".to_owned()),
    ];
    let mut gateway = stack.gateway_with(variables)?;
    gateway.becomes("ready").await?;

    gateway.signal(Signal::SIGTERM)?;
    gateway.becomes("stopping").await?;
    let (status, _) = gateway.health().await?;
    let saved = Api::new(&gateway.url, SPACE)?.save(&sample()).await?;

    assert_eq!(status, 503);
    assert_eq!(saved.record()?["revision"], 1);
    assert!(gateway.ends_within(Duration::from_secs(10)).await?);
    Ok(())
}

#[tokio::test]
async fn a_container_can_ask_whether_its_service_is_ready() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let services = [
        ("gateway", stack.gateway.as_ref()),
        ("worker", stack.workers.first()),
    ];
    for (program, process) in services {
        let address = process
            .map(|it| it.url.replace("http://", ""))
            .unwrap_or_default();
        let closed_address = format!("127.0.0.1:{}", dev::paths::free_port(None)?);

        for (listen, is_ready) in [(address, true), (closed_address, false)] {
            let path = tests::servers::programs()?.join(program);
            let status = dev::services::command(&path, &[("LISTEN", listen)])
                .arg("healthcheck")
                .status()
                .await?;
            assert_eq!(status.success(), is_ready, "{program}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn services_stop_if_a_queue_has_other_arguments() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let connection = runtime::broker::connect(&stack.uri()?, "test").await?;
    connection
        .create_channel()
        .await?
        .queue_declare(
            proto::amqp::topology::QUEUE.into(),
            lapin::options::QueueDeclareOptions::default(),
            lapin::types::FieldTable::default(),
        )
        .await?;

    let gateway = stack.gateway_with(vec![("JWT_SECRET", SECRET.to_owned())])?;
    let worker = stack.worker_with(Vec::new())?;

    for process in [gateway, worker] {
        let log = process.log.clone();
        tests::eventually("the process to end and say why", async || {
            let text = std::fs::read_to_string(&log)?;
            Ok(text
                .contains("ipack.connector-details.v1 could not be declared")
                .then_some(()))
        })
        .await?;
        let end = tests::eventually("the process to end", async || {
            Ok(process.health().await.is_err().then_some(()))
        });
        end.await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_type_and_field_is_described() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let query = "{ __schema { types {
        name description
        fields { name description args { name description } }
        inputFields { name description }
    } } }";

    let schema = stack
        .api(SPACE)?
        .execute(query, Value::Null)
        .await?
        .record()?;

    let mut undescribed = Vec::new();
    let mut left = vec![(String::new(), schema["types"].clone())];
    while let Some((path, items)) = left.pop() {
        for item in items.as_array().into_iter().flatten() {
            let name = item["name"].as_str().unwrap_or_default();
            // GraphQL's own are described by its specification.
            if name.starts_with("__") || ["Boolean", "Float", "ID", "Int", "String"].contains(&name)
            {
                continue;
            }
            let path = format!("{path}/{name}");
            if item["description"].as_str().is_none_or(str::is_empty) {
                undescribed.push(path.clone());
            }
            for inner in ["fields", "args", "inputFields"] {
                left.push((path.clone(), item[inner].clone()));
            }
        }
    }
    assert!(undescribed.is_empty(), "{undescribed:?}");
    Ok(())
}

#[test]
fn the_committed_schema_is_the_one_that_is_served() {
    let committed = include_str!("../../services/gateway/schema.graphql");

    let served = gateway::graphql::schema::sdl();

    assert_eq!(
        committed.trim(),
        served.trim(),
        "after a wanted change: cargo run --bin gateway -- schema > services/gateway/schema.graphql"
    );
}
