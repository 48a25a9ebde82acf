//! Requests that cost much and are within the published limits of a body.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SPACE, sample, sample_with},
    bystander::{Attack, PROMPT},
    eventually,
    processes::Memory,
    publisher::Publisher,
};

/// The longest details that are accepted.
const DETAILS_BYTES: usize = 64 * 1024;

/// The details as text, filled with a pattern up to their limit.
fn details_of(pattern: &str) -> String {
    let empty = json!({ "authParams": { "a": "" } }).to_string();
    let room = (DETAILS_BYTES - empty.len()) / pattern.len();
    json!({ "authParams": { "a": pattern.repeat(room) } }).to_string()
}

const PATTERNS: [&str; 8] = [
    "://",
    "a=b&",
    "?a=b",
    "@",
    "a://b:c@",
    "?password=",
    "://?a=b&c=d@#",
    "%26%3d%40",
];

#[tokio::test(flavor = "multi_thread")]
async fn details_full_of_separators_cost_no_more_than_others() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let memory = (
        Memory::of(attack.gateway()?)?,
        Memory::of(attack.worker()?)?,
    );
    for pattern in PATTERNS {
        let mut input = sample_with("oauthConnectorDetails", details_of(pattern));
        input["clientSecret"] = pattern.repeat(4).into();
        let started = Instant::now();
        let answer = attacker.save(&input).await?;
        let took = started.elapsed();
        // The mask is longer than what it stands for, so that some grow beyond the limit.
        let accepted = answer.record().is_ok() || answer.code() == "BAD_USER_INPUT";
        ensure!(accepted, "{pattern}: {}", answer.body);
        ensure!(took < PROMPT, "{pattern}: {took:?}");
    }
    let grew = (memory.0.grew_mib()?, memory.1.grew_mib()?);
    ensure!(grew.0 < 64 && grew.1 < 64, "MiB more: {grew:?}");
    attack.harmed_nobody().await
}

#[tokio::test(flavor = "multi_thread")]
async fn published_details_full_of_separators_cost_no_more_than_others() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.worker()?)?;
    let mut publisher = attack.stack.publisher().await?;
    // Without an environment the command is refused, and its copy is redacted and parked.
    for (outcome, env_id) in [("saved", "2"), ("refused", "")] {
        for pattern in PATTERNS {
            let mut input = sample_with("oauthConnectorDetails", details_of(pattern));
            input["envId"] = env_id.into();
            let id = format!("{outcome} {pattern}");
            let reply = publisher
                .ask(input.to_string(), Publisher::properties(&id))
                .await?;
            let grown = reply["errors"][0]["field"] == "oauthConnectorDetails";
            ensure!(reply["outcome"] == outcome || grown, "{pattern}: {reply}");
        }
    }
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.harmed_nobody().await
}

/// 100 records with 60 KiB of details each.
async fn large_records(attack: &Attack) -> anyhow::Result<()> {
    sqlx::query(
        "insert into connector_details (catalog_guid, integration_pack_instance_id, process_id,
             env_id, connection_id, is_token_generated, oauth_connector_details, client_id,
             last_command_id)
         select $1, 'pack', n::text, '2', '3', false,
             '{\"authParams\":{\"a\":\"' || repeat('x', 60 * 1024) || '\"}}', 'client', 'none'
         from generate_series(1, 100) n",
    )
    .bind(SPACE)
    .execute(&attack.stack.database)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_bounded_before_it_is_read() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    large_records(&attack).await?;
    let memory = Memory::of(attack.gateway()?)?;
    let page = |first: usize, field: &str| {
        format!("connectorDetails(first: {first}) {{ edges {{ node {{ {field} }} }} }}")
    };
    let all = |field: &str| -> String {
        let aliases = (0..30).map(|n| format!("a{n}: {} ", page(100, field)));
        format!("{{ {}}}", aliases.collect::<String>())
    };

    for document in [
        all("oauthConnectorDetails"),
        all("id clientId oauthConnectorDetails"),
    ] {
        for _ in 0..3 {
            let answer = attacker.execute(&document, json!({})).await?;
            assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");
        }
    }
    for (first, field) in [(100, "id"), (20, "id oauthConnectorDetails")] {
        let document = format!("{{ {} }}", page(first, field));
        let listed = attacker.execute(&document, json!({})).await?.record()?;
        assert_eq!(listed["edges"].as_array().map(Vec::len), Some(first));
    }
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.harmed_nobody().await
}

/// Repeats a request until it is refused for being too often, and counts.
async fn until_limited(
    what: &str,
    request: impl AsyncFn() -> anyhow::Result<Answer>,
) -> anyhow::Result<usize> {
    let started = Instant::now();
    for count in 0..400 {
        let answer = request().await?;
        if answer.status == 429 {
            return Ok(count);
        }
        ensure!(answer.body["errors"].is_array(), "{what}: {}", answer.body);
        ensure!(started.elapsed() < Duration::from_secs(30), "{what}: slow");
    }
    anyhow::bail!("{what}: never limited")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_charged_before_it_is_parsed() -> anyhow::Result<()> {
    let attack = Attack::with(&[
        ("REQUESTS_PER_SECOND", "20"),
        ("REQUESTS_BURST", "60"),
        ("READS_PER_SECOND", "50"),
        ("READS_BURST", "200"),
    ])
    .await?;
    let url = &attack.gateway()?.url;
    let of = |subject: &str| Api::of(url, SPACE, subject);
    let many = "id ".repeat(80_000);
    let two = "mutation two($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
        a: saveIPackInstanceOauthConnectorDetails(input: $input) { id }
        b: saveIPackInstanceOauthConnectorDetails(input: $input) { id } }";
    let input = json!({ "input": sample() });

    for document in [
        format!("{{ {many} }}"),
        format!("{{ connectorDetails {{ edges {{ node {{ {many} }} }} }} }}"),
        format!("{{ {many}"),
    ] {
        let garbage = of(&format!("garbage {}", document.len()))?;
        until_limited("a document of many tokens", async || {
            garbage.execute(&document, json!({})).await
        })
        .await?;
    }
    let (bad, getter, named) = (of("bad")?, of("getter")?, of("named")?);
    for body in [json!({ "query": 5 }), json!([]), Value::Null] {
        until_limited("bad parameters", async || bad.post(body.to_string()).await).await?;
    }
    let parameters = [("query", "mutation { __typename }")];
    until_limited("a mutation by GET", async || getter.get(&parameters).await).await?;
    let named = named.with("idempotency-key", "two");
    until_limited("a key with two saves", async || {
        named.execute(two, input.clone()).await
    })
    .await?;
    attack.harmed_nobody().await
}

/// The gateway's connections to the broker, each by its ports.
async fn connections(attack: &Attack) -> anyhow::Result<Vec<String>> {
    let path = format!("vhosts/{}/connections", attack.stack.vhost);
    // The management plugin lists a connection a moment after it was made.
    eventually("the gateway's connections", async || {
        let all = attack.stack.broker(&path).await?;
        let of_gateway = all.as_array().into_iter().flatten().filter(|connection| {
            let name = connection["user_provided_name"].as_str();
            name.is_some_and(|name| name.starts_with("connector-details-gateway"))
        });
        let ports = of_gateway.filter_map(|connection| connection["name"].as_str());
        let mut ports: Vec<_> = ports.map(ToOwned::to_owned).collect();
        ports.sort();
        Ok((!ports.is_empty()).then_some(ports))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_tracestate_is_no_matter_to_the_broker() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let before = connections(&attack).await?;
    let traced = attack.attacker()?.with(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let members = |count: usize, bytes: usize| -> String {
        let members: Vec<_> = (0..count)
            .map(|n| format!("vendor{n}={}", "x".repeat(bytes)))
            .collect();
        members.join(",")
    };
    for state in [
        members(1, 6 * 1024),
        members(1, 16 * 1024),
        members(32, 250),
        members(32, 500),
        members(200, 60),
        members(1, 100),
    ] {
        let saved = traced.with("tracestate", state).save(&sample()).await?;
        saved.record()?;
    }
    assert_eq!(connections(&attack).await?, before, "one was lost");
    attack.harmed_nobody().await
}
