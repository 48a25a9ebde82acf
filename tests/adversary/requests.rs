//! Requests that cost much and are within the published limits of a body.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SPACE, sample},
    bystander::Attack,
    eventually,
    processes::Memory,
};

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
async fn variables_are_not_copied_for_an_unknown_operation() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let memory = Memory::of(attack.gateway()?)?;
    let uses = "$v ".repeat(850);
    let field = format!("connectorDetails(filter: [{uses}]) {{ edges {{ cursor }} }}");
    let two = format!("query A($v: ConnectorDetailsFilter) {{ {field} }} query B {{ __typename }}");
    let variables = json!({ "v": vec![1; 9_000] });

    for name in [Value::Null, json!("C")] {
        let body = json!({ "query": two, "variables": variables, "operationName": name });
        let answer = attacker.post(body.to_string()).await?;
        assert_eq!(
            answer.code(),
            "GRAPHQL_VALIDATION_FAILED",
            "{}",
            answer.body
        );
    }

    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.others_were_unaffected().await
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
    let aliased = |count: usize, field: &str| -> String {
        let aliases = (0..count).map(|n| format!("a{n}: {} ", page(100, field)));
        format!("{{ {}}}", aliases.collect::<String>())
    };

    for (count, field) in [
        (30, "oauthConnectorDetails"),
        (30, "id clientId oauthConnectorDetails"),
    ] {
        let answer = attacker.execute(&aliased(count, field), json!({})).await?;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");
    }
    // Few enough fields, and too many bytes.
    for _ in 0..3 {
        let document = aliased(8, "oauthConnectorDetails");
        let answer = attacker.execute(&document, json!({})).await?;
        ensure!(answer.body["errors"].is_array(), "50 MiB were answered");
    }
    for (first, field) in [(100, "id"), (20, "id oauthConnectorDetails")] {
        let document = format!("{{ {} }}", page(first, field));
        let listed = attacker.execute(&document, json!({})).await?.record()?;
        assert_eq!(listed["edges"].as_array().map(Vec::len), Some(first));
    }
    let grew = memory.grew_mib()?;
    // A response of 8 MiB is in memory several times, and the allocator keeps freed memory.
    ensure!(grew < 128, "{grew} MiB more");
    attack.others_were_unaffected().await
}

/// Repeats a request, four at a time, until one is refused for being too often.
async fn until_limited(
    what: &str,
    request: impl AsyncFn() -> anyhow::Result<Answer>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        let answers = join_all((0..4).map(|_| request())).await;
        for answer in answers.into_iter().collect::<anyhow::Result<Vec<_>>>()? {
            if answer.status == 429 {
                return Ok(());
            }
            ensure!(answer.body["errors"].is_array(), "{what}: {}", answer.body);
        }
    }
    anyhow::bail!("{what}: never limited")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_charged_before_it_is_parsed() -> anyhow::Result<()> {
    let attack = Attack::with(&[
        // A little more than the bystander needs.
        ("REQUESTS_PER_SECOND", "8"),
        ("REQUESTS_BURST", "40"),
        ("READS_PER_SECOND", "50"),
        ("READS_BURST", "200"),
    ])
    .await?;
    let url = &attack.gateway()?.url;
    let of = |subject: &str| Api::for_subject(url, SPACE, subject);
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
    attack.others_were_unaffected().await
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
async fn a_large_tracestate_does_not_close_the_broker_connection() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let before = connections(&attack).await?;
    let traced = attack.attacker()?.with(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    let members = |count: usize, key_bytes: usize, value_bytes: usize| -> String {
        let value = "x".repeat(value_bytes);
        let members: Vec<_> = (0..count)
            .map(|n| format!("v{n:0>digits$}={value}", digits = key_bytes - 1))
            .collect();
        members.join(",")
    };
    // A `tracestate` has at most 32 members with keys and values of at most 256 bytes: the second is
    // larger than a frame.
    for state in [
        members(24, 8, 250),
        members(32, 256, 256),
        members(32, 250, 250),
        members(1, 8, 6 * 1024),
        members(1, 8, 16 * 1024),
        members(200, 8, 60),
        members(1, 8, 100),
    ] {
        let saved = traced.with("tracestate", state).save(&sample()).await?;
        saved.record()?;
    }
    assert_eq!(connections(&attack).await?, before, "one was lost");
    attack.others_were_unaffected().await
}
