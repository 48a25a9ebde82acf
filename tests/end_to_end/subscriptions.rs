//! Subscriptions to the changes of a Space.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    api::{Api, SECRET, SPACE, key, sample, sample_with},
    eventually,
    external_clients::{node, output},
    sse::{CHANGED, Subscription},
    stack::Stack,
};

const DELETE: &str = "mutation delete($input: IPackInstanceOAuthConnectorDetailsInput!) {
    deleteIPackInstanceOauthConnectorDetails(input: $input) { id }
}";

#[tokio::test]
async fn a_subscription_delivers_changes_of_its_own_space_only() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    // A save through another gateway arrives too.
    let first = stack.api(SPACE)?;
    stack.start_gateway().await?;
    let second = stack.api(SPACE)?;
    let mut subscription = Subscription::start(&second).await?;

    stack
        .api("another Space")?
        .save(&sample_with("catalogGuid", "another Space"))
        .await?
        .record()?;
    let mut input = sample_with("clientSecret", "hunter2-hunter2");
    input["oauthConnectorDetails"] = r#"{"authParams":{"a":"hunter2-hunter2"}}"#.into();
    let saved = second.save(&input).await?.record()?;
    second.save(&sample()).await?.record()?;
    second
        .execute(DELETE, json!({ "input": key(&sample()) }))
        .await?;

    let mut result = Vec::new();
    for _ in 0..3 {
        let change = subscription.change().await?;
        assert_eq!(change["record"]["id"], saved["id"]);
        assert!(!change.to_string().contains("hunter2"));
        result.push(json!([change["kind"], change["record"]["revision"]]));
    }
    assert_eq!(
        result,
        [
            json!(["SAVED", 1]),
            json!(["SAVED", 2]),
            json!(["DELETED", 2])
        ]
    );
    drop(first);
    Ok(())
}

#[tokio::test]
async fn a_subscription_ends_with_its_token() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let token = gateway::auth::dev_token::sign(SECRET, SPACE, "somebody", Duration::from_secs(2))?;
    let short = api.with("authorization", format!("Bearer {token}"));

    let mut subscription = Subscription::of(&short, CHANGED).await?;
    let (name, last) = loop {
        let result = subscription.next().await?;
        // The gateway's queue may have been bound after the subscription began.
        if result.1["data"]["connectorDetailsChanged"]["kind"] != "MISSED" {
            break result;
        }
    };

    assert_eq!(name, "next");
    assert_eq!(last["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(subscription.next().await?.0, "complete");
    Ok(())
}

#[tokio::test]
async fn nothing_but_subscriptions_is_streamed() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let code = |data: &Value| data["errors"][0]["extensions"]["code"].clone();
    let save = "mutation { saveIPackInstanceOauthConnectorDetails(input: {
        integrationPackInstanceId: \"a\", isTokenGenerated: true, oauthConnectorDetails: \"{}\",
        processId: \"1\", envId: \"2\", connectionId: \"3\", clientId: \"c\", clientSecret: \"s\",
        catalogGuid: \"796eeeb4-1b2f-4965-898a-7e443\" }) { id } }";

    for document in [save, "{ __typename }"] {
        let mut refused = Subscription::of(&api, document).await?;
        assert_eq!(code(&refused.next().await?.1), "BAD_REQUEST", "{document}");
        assert_eq!(refused.next().await?.0, "complete");
    }
    let mut unparsed = Subscription::of(&api, "subscription {").await?;
    assert_eq!(code(&unparsed.next().await?.1), "GRAPHQL_PARSE_FAILED");
    let anonymous = api.without("authorization");
    let refused = anonymous.stream(json!({ "query": CHANGED })).await?;
    assert_eq!(refused.status(), 401);
    let by_get = api.execute(CHANGED, json!({})).await?;
    assert!(
        by_get.body["errors"].is_array(),
        "not at /graphql: {}",
        by_get.body
    );
    let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(saved, 0);
    Ok(())
}

#[tokio::test]
async fn the_number_of_subscriptions_is_limited() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[("MAX_SUBSCRIPTIONS", "1")]).await?;
    let api = Api::new(&gateway.url, SPACE)?;

    let first = Subscription::start(&api).await?;
    let mut second = Subscription::of(&api, CHANGED).await?;
    let refused = second.next().await?.1;
    drop(first);

    let extensions = &refused["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "SERVICE_UNAVAILABLE");
    assert_eq!(extensions["retryable"], true);
    eventually("the place to be free again", async || {
        Ok(Subscription::start(&api).await.ok())
    })
    .await?;
    assert!(gateway.stop().await?, "and nobody is waited for");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn public_client_libraries_can_subscribe() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let gateway = stack.gateway.as_ref().map(|gateway| gateway.url.clone());
    let program = dev::paths::repository().join("tests/clients/subscribe.mjs");
    let packages = [
        "graphql@16.11.0",
        "graphql-ws@6.0.6",
        "graphql-sse@2.6.0",
        "ws@8.18.3",
    ];
    let mut node = node(&program, &packages).await?;
    node.env("GATEWAY_URL", gateway.unwrap_or_default())
        .env("SPACE_GUID", SPACE)
        .env(
            "TOKEN",
            gateway::auth::dev_token::sign(SECRET, SPACE, "a page", Duration::from_mins(5))?,
        )
        .env("INPUT", sample().to_string());

    let printed = output(node).await?;

    let result: Value = serde_json::from_str(&printed)?;
    assert_eq!(result["ws"], json!(["SAVED", "SAVED"]), "{result}");
    assert_eq!(result["sse"], result["ws"]);
    assert_eq!(
        result["stranger"], 1,
        "a socket without a token is closed: {result}"
    );
    assert_eq!(result["mutation"], "BAD_REQUEST");
    Ok(())
}
