//! The limits on what one request may cost the gateway.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SECRET, SPACE, key, sample, sample_with},
    eventually,
    socket::Socket,
    sse::{CHANGED, Subscription},
    stack::{Process, Stack},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

const PAGE: &str = "query page($first: Int) { connectorDetails(first: $first) {
    edges { cursor node {
        id integrationPackInstanceId isTokenGenerated oauthConnectorDetails processId envId
        connectionId catalogGuid clientId revision updatedAt updatedBy
    } }
    pageInfo { hasNextPage endCursor }
} }";

pub fn token(subject: &str) -> anyhow::Result<String> {
    gateway::auth::dev_token::sign(SECRET, SPACE, subject, Duration::from_mins(5))
}

/// Fragments that spread the next one three times, thirty levels of them.
fn bomb(operation: &str) -> String {
    let level = |n: usize| {
        format!(
            "fragment F{n} on Query {{ {} }} ",
            format!("...F{} ", n + 1).repeat(3)
        )
    };
    let levels: String = (0..30).map(level).collect();
    format!("{operation} {{ ...F0 }} {levels} fragment F30 on Query {{ __typename }}")
}

/// A mutation whose fragments save so many times.
fn saves(count: usize) -> String {
    let spreads = "...A ".repeat(count);
    format!(
        "mutation($input: SaveIPackInstanceOauthConnectorDetailsInput!) {{ {spreads} }}
         fragment A on Mutation {{ ...B }}
         fragment B on Mutation {{ saveIPackInstanceOauthConnectorDetails(input: $input) {{ id }} }}"
    )
}

async fn stored(stack: &Stack) -> anyhow::Result<i64> {
    let count = "select count(*) from connector_details_ledger";
    Ok(sqlx::query_scalar(count).fetch_one(&stack.database).await?)
}

#[tokio::test]
async fn fragments_that_spread_fragments_are_refused_at_once_wherever_they_are_sent()
-> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let mut socket = Socket::known(&gateway.url, &token("a page")?, SPACE).await?;

    let started = Instant::now();
    let posted = api.execute(&bomb("query"), json!({})).await?.body;
    let asked = api.get(&[("query", &bomb("query"))]).await?.body;
    let mut stream = Subscription::of(&api, &bomb("subscription")).await?;
    let streamed = stream.next().await?.1;
    let subscribed = socket.execute("1", &bomb("subscription")).await?;
    let took = started.elapsed();

    for answer in [posted, asked, streamed, subscribed] {
        let error = &answer["errors"][0];
        assert_eq!(
            error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED",
            "{answer}"
        );
        assert!(
            error["message"].to_string().contains("1000 selections"),
            "{answer}"
        );
        assert!(error["extensions"]["requestId"].is_string(), "{answer}");
    }
    assert!(took < Duration::from_secs(1), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn saves_in_fragments_are_counted_as_saves() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack
        .ready_gateway(&[("SAVES_PER_SECOND", "1"), ("SAVES_BURST", "8")])
        .await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let input = json!({ "input": sample() });

    let six = api.execute(&saves(6), input.clone()).await?;
    let named = api
        .with("idempotency-key", "one")
        .execute(&saves(2), input.clone())
        .await?;
    let refused = stored(&stack).await?;
    let five = api.execute(&saves(5), input.clone()).await?;
    let four = api.execute(&saves(4), input).await?;

    assert_eq!(six.code(), "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(named.code(), "BAD_REQUEST");
    assert_eq!(refused, 0);
    assert!(five.body.get("errors").is_none(), "{}", five.body);
    assert_eq!(four.code(), "RATE_LIMITED", "five of eight were spent");
    assert_eq!(stored(&stack).await?, 5);
    Ok(())
}

#[tokio::test]
async fn brackets_are_counted_as_the_parser_sees_them() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    for hidden in [
        "{ y(i: {s: [#]\n",
        "{a(s:\"]})\") ",
        "{a(s:\"\"\"\\\"\"\"]})\"\"\") ",
    ] {
        let refused = api.execute(&hidden.repeat(2000), json!({})).await?;
        assert_eq!(refused.code(), "GRAPHQL_PARSE_FAILED", "{hidden}");
    }
    let mut input = sample_with("clientId", "[{(".repeat(100));
    input["oauthConnectorDetails"] = json!({ "a": "[{(".repeat(100) }).to_string().into();
    let members = input.as_object().into_iter().flatten();
    let members: Vec<_> = members
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let inline = format!(
        "mutation {{ # {}\n saveIPackInstanceOauthConnectorDetails(input: {{ {} }}) {{ clientId }} }}",
        "[{(".repeat(100),
        members.join(", ")
    );
    let record = api.execute(&inline, json!({})).await?.record()?;
    assert_eq!(record["clientId"], input["clientId"]);
    Ok(())
}

/// A request without the rest of its body.
async fn without_body(gateway: &Process, subject: &str) -> anyhow::Result<TcpStream> {
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         space_guid: {SPACE}\r\nauthorization: Bearer {}\r\ncontent-length: 1000\r\n\r\n{{",
        token(subject)?
    );
    let mut stream = TcpStream::connect(gateway.url.replace("http://", "")).await?;
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

#[tokio::test]
async fn a_request_occupies_a_slot_only_after_its_body_arrived() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[("MAX_IN_FLIGHT", "2")]).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let slow = join_all((0..20).map(|_| without_body(&gateway, "slow"))).await;
    let slow: Vec<_> = slow.into_iter().collect::<anyhow::Result<_>>()?;
    for _ in 0..5 {
        api.save(&sample()).await?.record()?;
    }
    drop(slow);
    Ok(())
}

#[tokio::test]
async fn one_bearer_cannot_occupy_all_slots() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let limits = [("MAX_IN_FLIGHT", "4"), ("MAX_IN_FLIGHT_PER_BEARER", "2")];
    let gateway = stack.ready_gateway(&limits).await?;
    let anna = Api::for_subject(&gateway.url, SPACE, "anna")?;
    let ben = Api::for_subject(&gateway.url, SPACE, "ben")?;
    anna.save(&sample()).await?.record()?;
    stack.workers[0].signal(Signal::SIGSTOP)?;

    let annas = join_all((0..6).map(|_| async {
        let answer = anna.save(&sample()).await?;
        anyhow::Ok((
            answer.status,
            answer.code(),
            answer.header("retry-after").to_owned(),
        ))
    }));
    let bens = async {
        // Anna uses both slots that one bearer may use.
        eventually("two saves to wait for the worker", async || {
            let waiting = "connector_details_waiting_requests{service=\"gateway\"}";
            Ok((gateway.metric(waiting).await? >= 2.0).then_some(()))
        })
        .await?;
        ben.find(&sample()).await
    };
    let (annas, bens) = tokio::join!(annas, bens);
    stack.workers[0].signal(Signal::SIGCONT)?;

    let annas: Vec<_> = annas.into_iter().collect::<anyhow::Result<_>>()?;
    let refused = (429, "RATE_LIMITED".to_owned(), "2".to_owned());
    assert_eq!(
        annas.iter().filter(|answer| **answer == refused).count(),
        4,
        "{annas:?}"
    );
    assert!(bens?.record().is_ok());
    Ok(())
}

#[tokio::test]
async fn every_request_is_charged_before_its_body_is_read() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let limits = [("REQUESTS_PER_SECOND", "1"), ("REQUESTS_BURST", "4")];
    let gateway = stack.ready_gateway(&limits).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    for body in ["{".to_owned(), "[]".to_owned(), "{}".to_owned()] {
        assert_eq!(api.post(body).await?.status, 400);
    }
    let get = api.get(&[("query", "mutation { __typename }")]).await?;
    assert_eq!(get.status, 405);
    // From now on no body is read.
    let fifth = api.post("{").await?;
    let stream = api.stream(json!({ "query": CHANGED })).await?;
    let other = Api::for_subject(&gateway.url, SPACE, "another")?
        .find(&sample())
        .await?;

    assert_eq!((fifth.status, fifth.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(stream.status(), 429);
    assert!(stream.headers().contains_key("retry-after"));
    assert!(stream.headers().contains_key("x-request-id"));
    assert!(other.record().is_ok());
    Ok(())
}

/// A request whose document has 85,000 tokens.
fn too_many_tokens() -> Value {
    json!({ "query": format!("{{{}}}", "id ".repeat(85_000)) })
}

/// The time of the fastest of five requests, which depends least on the load of the machine.
async fn fastest(
    api: &Api,
    body: &Value,
    is_expected: fn(&Answer) -> bool,
) -> anyhow::Result<Duration> {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let answer = api.post(body.to_string()).await?;
        fastest = fastest.min(started.elapsed());
        anyhow::ensure!(is_expected(&answer), "{}", answer.body);
    }
    Ok(fastest)
}

#[tokio::test]
async fn a_document_with_too_many_tokens_is_refused_before_it_is_parsed() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let refused = too_many_tokens();
    // The same number of bytes to read, in a variable that the document does not use.
    let valid = json!({ "query": "{ __typename }", "variables": { "unused": refused["query"] } });

    let took = fastest(&api, &refused, |answer| {
        answer.code() == "GRAPHQL_VALIDATION_FAILED"
    })
    .await?;
    let usual = fastest(&api, &valid, |answer| answer.record().is_ok()).await?;

    assert!(
        took < usual * 4 + Duration::from_millis(50),
        "{took:?}, and {usual:?} for a valid request of the same size"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_request_is_charged_as_a_read() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let limits = [("READS_PER_SECOND", "1"), ("READS_BURST", "1")];
    let gateway = stack.ready_gateway(&limits).await?;
    let two = json!({ "query": saves(2), "variables": { "input": sample() } }).to_string();
    let get = [("query", "mutation { __typename }")];

    for what in [
        "bad parameters",
        "a GET mutation",
        "a key with two saves",
        "tokens",
        "no GraphQL",
    ] {
        let api = Api::for_subject(&gateway.url, SPACE, what)?;
        let refused = match what {
            "bad parameters" => api.post(r#"{"query": 7}"#).await?,
            "a GET mutation" => api.get(&get).await?,
            "a key with two saves" => api.with("idempotency-key", "k").post(two.clone()).await?,
            "tokens" => api.post(too_many_tokens().to_string()).await?,
            _ => api.execute("{", json!({})).await?,
        };
        let next = api.find(&sample()).await?;
        assert_ne!(refused.code(), "RATE_LIMITED", "{what}: {}", refused.body);
        assert_eq!(next.code(), "RATE_LIMITED", "{what}");
    }
    Ok(())
}

/// A query for so many pages, each under an alias of its own.
fn pages(count: usize) -> String {
    let page = PAGE
        .split_once('{')
        .map(|(_, page)| page)
        .unwrap_or_default();
    let page = page
        .rsplit_once('}')
        .map(|(page, _)| page)
        .unwrap_or_default();
    let page = |n: usize| page.replace("connectorDetails(", &format!("a{n}: connectorDetails("));
    let pages: String = (0..count).map(page).collect();
    format!("query($first: Int) {{ {pages} }}")
}

#[tokio::test]
async fn a_page_is_charged_by_its_records_and_limited_in_bytes() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack
        .ready_gateway(&[("MAX_ANSWER_BYTES", "700000")])
        .await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let details = json!({ "a": "x".repeat(60_000) }).to_string();
    for n in 0..20 {
        let mut input = sample_with("connectionId", n.to_string());
        input["oauthConnectorDetails"] = details.clone().into();
        api.save(&input).await?.record()?;
    }

    let thirty = api.execute(&pages(30), json!({ "first": 100 })).await?;
    assert_eq!(thirty.code(), "GRAPHQL_VALIDATION_FAILED");

    let large = api.execute(PAGE, json!({ "first": 20 })).await?;
    assert_eq!(
        large.errors(),
        [("BAD_USER_INPUT".to_owned(), "first".to_owned())]
    );
    let fewer = api.execute(PAGE, json!({ "first": 8 })).await?.record()?;
    assert_eq!(fewer["edges"].as_array().map(Vec::len), Some(8));
    // The fields of a request share its bytes, and so do copies of the same details.
    let twice = api.execute(&pages(2), json!({ "first": 8 })).await?;
    assert_eq!(
        twice.errors(),
        [("BAD_USER_INPUT".to_owned(), "first".to_owned())]
    );
    let copies = PAGE.replace("id integration", "b: oauthConnectorDetails id integration");
    let copies = api.execute(&copies, json!({ "first": 8 })).await?;
    assert_eq!(
        copies.errors(),
        [("BAD_USER_INPUT".to_owned(), "first".to_owned())]
    );
    let find = "query($input: IPackInstanceOAuthConnectorDetailsInput!) {
        IPackInstanceOAuthConnectorDetails(input: $input) { DETAILS } }";
    let copies: Vec<_> = (0..11)
        .map(|n| format!("a{n}: oauthConnectorDetails"))
        .collect();
    let input = json!({ "input": key(&sample_with("connectionId", "0")) });
    let found = api
        .execute(&find.replace("DETAILS", &copies.join(" ")), input)
        .await?;
    assert_eq!(found.code(), "GRAPHQL_VALIDATION_FAILED");
    Ok(())
}
