//! The promises of ARCHITECTURE.md, by their names.

use futures_util::future::try_join_all;
use proto::{MASK, amqp::topology};
use serde_json::{Value, json};
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

#[tokio::test]
async fn the_published_sample_is_saved_and_read_back() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;

    let document = gateway::http::pages::graphiql::SAMPLE;
    let saved = api.execute(document, Value::Null).await?.record()?;
    let again = api.execute(document, Value::Null).await?.record()?;
    let read = api.find(&sample()).await?.record()?;

    let published = json!({
        "id": saved["id"],
        "integrationPackInstanceId": "test-101",
        "isTokenGenerated": false,
        "oauthConnectorDetails": "{\"baseURL\":\"https://baseURL.com\",\"companyId\":\"9341452451293689\",\"clientId\":\"A\",\"authParams\":{\"key\":\"value\"},\"accessTokenParams\":{\"key\":\"value\"}}",
        "processId": "1",
        "envId": "2",
        "connectionId": "3",
        "catalogGuid": "796eeeb4-1b2f-4965-898a-7e443",
    });
    assert_eq!(saved, published);
    assert_eq!(again, saved);
    for (field, value) in published.as_object().into_iter().flatten() {
        assert_eq!(read[field], *value, "{field}");
    }
    assert_eq!(read["revision"], 2);
    assert_eq!(read["updatedBy"], "tester");
    uuid::Uuid::parse_str(saved["id"].as_str().unwrap_or_default())?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_record_is_null() -> anyhow::Result<()> {
    let stack = Stack::start().await?;

    let answer = stack.api(SPACE)?.find(&sample()).await?;

    assert_eq!(
        answer.body,
        json!({ "data": { "IPackInstanceOAuthConnectorDetails": null } })
    );
    Ok(())
}

#[tokio::test]
async fn a_restart_of_everything_loses_nothing() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    let saved = stack.api(SPACE)?.save(&sample()).await?.record()?;

    for process in stack.workers.drain(..).chain(stack.gateway.take()) {
        assert!(
            process.stop().await?,
            "a service did not leave in good order"
        );
    }
    stack.start_worker().await?;
    stack.start_gateway().await?;

    assert_eq!(stack.api(SPACE)?.find(&sample()).await?.record()?, saved);
    Ok(())
}

#[tokio::test]
async fn the_client_secret_is_never_stored() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack
        .api(SPACE)?
        .save(&sample_with("clientSecret", "hunter2-hunter2"))
        .await?
        .record()?;

    let stored: String = sqlx::query_scalar("select client_secret from connector_details")
        .fetch_one(&stack.database)
        .await?;
    let refused = sqlx::query("update connector_details set client_secret = 'hunter2-hunter2'")
        .execute(&stack.database)
        .await;
    let logged: Vec<String> = sqlx::query_scalar("select c::text from connector_details_ledger c")
        .fetch_all(&stack.database)
        .await?;

    assert_eq!(stored, MASK);
    let refused = refused.err().map(|error| error.to_string());
    assert!(refused.is_some_and(|error| !error.contains("hunter2")));
    assert!(!logged.concat().contains("hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_secret_inside_the_details_is_masked() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let details = r#"{ "baseURL" : "https://user:hunter2-hunter2@host/?api_key=hunter2-hunter2&x=1",
        "client\u005fsecret": "hunter2-hunter2", "clientId": "hunter2-hunter2", "n": 1.50,
        "authParams": {"Authorization": "Basic hunter2-hunter2", "tokenType": "bearer"},
        "extra": [{"key": "client-secret", "value": "hunter2-hunter2"}, {"n": 1.50, "n": 2}] }"#;
    let mut input = sample_with("oauthConnectorDetails", details);
    input["clientSecret"] = "hunter2-hunter2".into();

    let saved = stack.api(SPACE)?.save(&input).await?.record()?;

    // Never in `clientId`: it is shown to people as it was typed.
    let expected = details.replace("hunter2-hunter2", MASK).replace(
        &format!(r#""clientId": "{MASK}""#),
        r#""clientId": "hunter2-hunter2""#,
    );
    assert_eq!(saved["oauthConnectorDetails"], expected);
    Ok(())
}

#[tokio::test]
async fn saving_what_was_read_changes_nothing() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let details = r#"{"baseURL":"https://u:p@host","password":"pw","z":1,"a":[ ]}"#;
    let first = api
        .save(&sample_with("oauthConnectorDetails", details))
        .await?
        .record()?;

    let read = api.find(&sample()).await?.record()?;
    let mut edited = sample();
    for field in ["oauthConnectorDetails", "clientId", "isTokenGenerated"] {
        edited[field] = read[field].clone();
    }
    edited["clientSecret"] = MASK.into();
    edited["isTokenGenerated"] = true.into();
    let second = api.save(&edited).await?.record()?;

    let mut expected = first;
    expected["isTokenGenerated"] = true.into();
    expected["revision"] = 2.into();
    expected["updatedAt"] = second["updatedAt"].clone();
    assert_eq!(second, expected);
    Ok(())
}

#[tokio::test]
async fn a_confirmed_save_is_stored() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;

    let saves = (0..100).map(|n| {
        let (api, database) = (api.clone(), stack.database.clone());
        async move {
            let input = sample_with("processId", format!("process {n}"));
            let saved = api.save(&input).await?.record()?;
            let stored: i64 = sqlx::query_scalar(
                "select count(*) from connector_details d
                 join connector_details_ledger c on c.record_id = d.id
                 where d.id = $1::text::uuid",
            )
            .bind(saved["id"].as_str())
            .fetch_one(&database)
            .await?;
            anyhow::Ok(stored)
        }
    });
    let stored = try_join_all(saves).await?;

    assert_eq!(stored, vec![1; 100]);
    Ok(())
}

#[tokio::test]
async fn a_command_takes_effect_at_most_once() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let body = sample().to_string();

    let first = publisher.ask(&body, Publisher::properties("one")).await?;
    let other = publisher.ask(&body, Publisher::properties("two")).await?;
    let repeat = publisher.ask(&body, Publisher::properties("one")).await?;

    assert_eq!(first["record"]["revision"], 1);
    assert_eq!(other["record"]["revision"], 2);
    // Answered with the record as that save left it, whatever was saved after it.
    assert_eq!(repeat, first);
    assert_eq!(revision(&stack).await?, 2);
    Ok(())
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    publisher
        .ask(sample().to_string(), Publisher::properties("one"))
        .await?;

    let changed = sample_with("isTokenGenerated", true).to_string();
    let conflict = publisher
        .ask(&changed, Publisher::properties("one"))
        .await?;
    let elsewhere = sample_with("catalogGuid", "another Space").to_string();
    let elsewhere = publisher
        .ask(&elsewhere, Publisher::properties("one"))
        .await?;

    assert_eq!(conflict["outcome"], "refused");
    assert_eq!(conflict["errors"][0]["code"], "CONFLICT");
    assert_eq!(revision(&stack).await?, 1);
    assert_eq!(
        elsewhere["outcome"], "saved",
        "ids of one Space mean nothing in another"
    );
    assert!(
        publisher.get(topology::PARKED).await?.is_none(),
        "a conflict is an answer"
    );
    Ok(())
}

#[tokio::test]
async fn a_repeat_with_the_same_idempotency_key_has_one_effect() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?.with("idempotency-key", "a key of mine");

    let first = api.save(&sample()).await?;
    let repeat = api.save(&sample()).await?;
    let changed = api.save(&sample_with("clientId", "another")).await?;
    let other_key = api
        .with("idempotency-key", "another key")
        .save(&sample())
        .await?;

    assert_eq!(first.record()?["revision"], 1);
    assert_eq!(repeat.record()?, first.record()?);
    assert_eq!(changed.code(), "CONFLICT");
    assert_eq!(other_key.record()?["revision"], 2);
    Ok(())
}

#[tokio::test]
async fn the_last_save_wins() -> anyhow::Result<()> {
    const SAVES: i64 = 300;
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;

    for n in 1..SAVES {
        let body = sample_with("clientId", format!("client {n}")).to_string();
        publisher
            .publish(body, Publisher::properties(&format!("save {n}")))
            .await?;
    }
    let body = sample_with("clientId", "the last").to_string();
    let last = publisher
        .ask(body, Publisher::properties("the last"))
        .await?;

    assert_eq!(last["record"]["clientId"], "the last");
    assert_eq!(last["record"]["revision"], SAVES);
    assert_eq!(revision(&stack).await?, SAVES);
    let in_order: bool = sqlx::query_scalar(
        "select bool_and(command_id = 'save ' || revision) from connector_details_ledger
         where command_id <> 'the last'",
    )
    .fetch_one(&stack.database)
    .await?;
    assert!(
        in_order,
        "saves took effect in another order than they were sent"
    );
    Ok(())
}

/// A backlog is worked on in two batches at once, and more often than not the second has the records of
/// the first.
#[tokio::test]
async fn a_backlog_is_applied_in_the_order_of_each_record() -> anyhow::Result<()> {
    const RECORDS: usize = 150;
    const ROUNDS: usize = 8;
    let mut stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    let rounds = (1..=ROUNDS).flat_map(|round| (0..RECORDS).map(move |record| (record, round)));
    // The messages are sent in this order, and a channel preserves it.
    try_join_all(rounds.map(|(record, round)| {
        let body = sample_with("processId", record.to_string()).to_string();
        let properties = Publisher::properties(&format!("{record}: {round}"));
        publisher.publish(body, properties)
    }))
    .await?;

    stack.start_worker().await?;

    let decided = "select count(*), bool_and(command_id = process_id || ': ' || revision)
         from connector_details_ledger";
    let in_order = eventually("the backlog to be drained", async || {
        let (count, in_order): (i64, Option<bool>) =
            sqlx::query_as(decided).fetch_one(&stack.database).await?;
        Ok((usize::try_from(count)? == RECORDS * ROUNDS).then_some(in_order))
    })
    .await?;
    assert_eq!(in_order, Some(true));
    Ok(())
}

#[tokio::test]
async fn a_confirmed_command_is_never_lost() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    for n in 0..50 {
        let input = match n % 5 {
            0 => sample_with("envId", ""),
            _ => sample_with("envId", format!("env {n}")),
        };
        publisher
            .publish(input.to_string(), Publisher::properties(&format!("{n}")))
            .await?;
    }

    stack.start_worker().await?;

    let mut parked = Vec::new();
    while parked.len() < 10 {
        parked.push(publisher.take(topology::PARKED).await?);
    }
    eventually("all valid commands to be applied", async || {
        let applied: i64 = sqlx::query_scalar("select count(*) from connector_details")
            .fetch_one(&stack.database)
            .await?;
        Ok((applied == 40).then_some(()))
    })
    .await?;
    assert!(publisher.get(topology::PARKED).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn every_request_gets_an_answer() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_gateway().await?;
    let api = stack.api(SPACE)?;
    let started = std::time::Instant::now();

    let pending = api.save(&sample()).await?;

    assert_eq!(pending.code(), "SAVE_PENDING");
    assert!(started.elapsed().as_secs() < 10);
    let extensions = &pending.body["errors"][0]["extensions"];
    assert_eq!(extensions["retryable"], true);
    let id = extensions["commandId"].as_str().unwrap_or_default();
    stack.start_worker().await?;
    let repeat = api.with("idempotency-key", id).save(&sample()).await?;
    assert_eq!(
        repeat.record()?["revision"],
        1,
        "the repeat is the same command"
    );
    Ok(())
}

#[tokio::test]
async fn no_space_can_read_another() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    let other = stack.api("another Space")?;

    let read = other.find(&sample()).await?;
    let saved = other.save(&sample()).await?;
    let header = other.with("space_guid", SPACE).find(&sample()).await?;
    let own = other
        .find(&sample_with("catalogGuid", "another Space"))
        .await?;

    for answer in [read, saved] {
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.errors(),
            [("FORBIDDEN".to_owned(), "catalogGuid".to_owned())]
        );
    }
    assert_eq!((header.status, header.code().as_str()), (403, "FORBIDDEN"));
    assert_eq!(own.record()?, Value::Null);
    Ok(())
}

/// The sample's revision as it stands in the table.
async fn revision(stack: &Stack) -> anyhow::Result<i64> {
    let revision = sqlx::query_scalar(
        "select revision from connector_details
         where catalog_guid = $1 and integration_pack_instance_id = 'test-101' and env_id = '2'",
    )
    .bind(SPACE)
    .fetch_one(&stack.database)
    .await?;
    Ok(revision)
}
