//! Deletions, conditional saves, and the status of commands.

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SPACE, key, sample, sample_with},
    publisher::Publisher,
    stack::Stack,
};

const DELETE: &str =
    "mutation delete($input: IPackInstanceOAuthConnectorDetailsInput!, $expected: Int) {
    deleteIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: $expected) {
        id revision connectionId oauthConnectorDetails updatedAt updatedBy
    }
}";
const SAVE_EXPECTING: &str =
    "mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!, $expected: Int) {
    saveIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: $expected) {
        id revision updatedAt
    }
}";
const STATE: &str = "query state($id: ID!) {
    saveCommand(id: $id) { id status code message currentRevision record { id revision } }
}";

async fn delete(api: &Api, input: &Value, expected: Option<i64>) -> anyhow::Result<Answer> {
    let variables = json!({ "input": key(input), "expected": expected });
    api.execute(DELETE, variables).await
}

async fn save_expecting(api: &Api, input: &Value, expected: i64) -> anyhow::Result<Answer> {
    let variables = json!({ "input": input, "expected": expected });
    api.execute(SAVE_EXPECTING, variables).await
}

fn field(answer: &Answer) -> &Value {
    let data = answer.body["data"].as_object();
    data.and_then(|data| data.values().next())
        .unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_delete_returns_the_record_and_removes_it() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let first = api.save(&sample()).await?.record()?;
    api.save(&sample()).await?.record()?;

    let deleted = delete(&api, &sample(), None).await?;
    let again = delete(&api, &sample(), None).await?;
    let found = api.find(&sample()).await?;
    let new = api.save(&sample()).await?.record()?;

    assert_eq!(field(&deleted)["id"], first["id"]);
    assert_eq!(field(&deleted)["revision"], 2);
    assert_eq!(
        again.body,
        json!({ "data": { "deleteIPackInstanceOauthConnectorDetails": null } })
    );
    assert_eq!(field(&found), &Value::Null);
    assert_ne!(new["id"], first["id"]);
    assert_eq!(new["revision"], 1);
    let history: i64 = sqlx::query_scalar("select count(*) from connector_details_ledger")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(history, 5, "the history stays");
    Ok(())
}

#[tokio::test]
async fn a_redelivered_save_from_before_a_deletion_changes_nothing() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let mut publisher = stack.publisher().await?;
    let saved = publisher
        .ask(sample().to_string(), Publisher::properties("before"))
        .await?;

    let deletion = Publisher::properties("deletion").with_type("DeleteConnectorDetails.v1".into());
    let deleted = publisher
        .delete(key(&sample()).to_string(), deletion.clone())
        .await?;
    let saved_again = publisher
        .ask(sample().to_string(), Publisher::properties("before"))
        .await?;
    let deleted_again = publisher
        .delete(key(&sample()).to_string(), deletion)
        .await?;

    assert_eq!(deleted["outcome"], "deleted");
    assert_eq!(deleted["record"]["id"], saved["record"]["id"]);
    assert_eq!(saved_again, saved);
    assert_eq!(deleted_again, deleted);
    assert_eq!(field(&api.find(&sample()).await?), &Value::Null);
    Ok(())
}

#[tokio::test]
async fn a_save_with_a_stale_expected_revision_stays_a_conflict() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let fresh = save_expecting(&api, &sample(), 0).await?;
    let current = save_expecting(&api, &sample(), 1).await?;

    let named = api.with("idempotency-key", "mine");
    let stale = save_expecting(&named, &sample(), 1).await?;
    api.save(&sample()).await?.record()?;
    let repeated = save_expecting(&named, &sample(), 1).await?;
    let exists = save_expecting(&api, &sample(), 0).await?;
    let conflict = delete(&api, &sample(), Some(1)).await?;
    let negative = save_expecting(&api, &sample(), -1).await?;
    let deleted = delete(&api, &sample(), Some(3)).await?;

    assert_eq!(field(&fresh)["revision"], 1);
    assert_eq!(field(&current)["revision"], 2);
    let extensions = &stale.body["errors"][0]["extensions"];
    assert_eq!(
        [&extensions["code"], &extensions["field"]],
        ["CONFLICT", "expectedRevision"]
    );
    assert_eq!(extensions["currentRevision"], 2);
    assert_eq!(extensions["currentUpdatedBy"], "tester");
    assert_eq!(extensions["currentUpdatedAt"], field(&current)["updatedAt"]);
    assert_eq!(extensions["retryable"], false);
    let again = &repeated.body["errors"][0]["extensions"];
    assert_eq!(again["currentRevision"], 2, "as it was decided");
    for (answer, revision) in [(&exists, 3), (&conflict, 3)] {
        let extensions = &answer.body["errors"][0]["extensions"];
        assert_eq!(extensions["currentRevision"], revision);
    }
    assert_eq!(
        negative.body["errors"][0]["extensions"]["code"],
        "BAD_USER_INPUT"
    );
    assert_eq!(field(&deleted)["revision"], 3);
    Ok(())
}

#[tokio::test]
async fn a_client_can_query_the_status_of_its_command() -> anyhow::Result<()> {
    let mut stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    api.save(&sample()).await?.record()?;
    assert!(stack.workers.remove(0).stop().await?);

    let pending = api.save(&sample_with("clientId", "later")).await?;
    let stale = save_expecting(&api, &sample(), 7).await?;
    let id_of = |answer: &Answer| {
        let extensions = &answer.body["errors"][0]["extensions"];
        extensions["commandId"].as_str().map(ToOwned::to_owned)
    };
    let (first, second) = (
        id_of(&pending).context("no id")?,
        id_of(&stale).context("no id")?,
    );
    let ask = async |api: &Api, id: &str| {
        let answer = api.execute(STATE, json!({ "id": id })).await?;
        anyhow::Ok(field(&answer).clone())
    };
    let undecided = ask(&api, &first).await?;
    stack.start_worker().await?;
    // It is behind the others in the queue.
    api.save(&sample_with("connectionId", "other"))
        .await?
        .record()?;
    let applied = ask(&api, &first).await?;
    let refused = ask(&api, &second).await?;
    let elsewhere = ask(&stack.api("another Space")?, &first).await?;
    let nonsense = api.execute(STATE, json!({ "id": " " })).await?;

    assert_eq!(undecided["status"], "UNDECIDED");
    assert_eq!(
        [&applied["status"], &applied["id"]],
        ["APPLIED", first.as_str()]
    );
    assert_eq!(applied["record"]["revision"], 2);
    assert_eq!(
        [&refused["status"], &refused["code"]],
        ["REFUSED", "CONFLICT"]
    );
    assert_eq!(refused["currentRevision"], 2);
    assert_eq!(
        elsewhere["status"], "UNDECIDED",
        "within the bearer's Space only"
    );
    assert_eq!(nonsense.body["errors"][0]["extensions"]["field"], "id");
    Ok(())
}
