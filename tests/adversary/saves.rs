//! Saves that a document hides in fragments.

use std::time::Instant;

use anyhow::ensure;
use serde_json::json;
use tests::{
    api::{SPACE, sample, sample_with},
    bystander::Attack,
    stack::Stack,
};

const INPUT: &str = "$input: SaveIPackInstanceOauthConnectorDetailsInput!";
const SAVE: &str = "saveIPackInstanceOauthConnectorDetails(input: $input) { id }";

/// A mutation whose saves stand two fragments deep.
fn hidden_saves(count: usize) -> String {
    let spreads = "...A ".repeat(count);
    format!(
        "mutation hidden({INPUT}) {{ {spreads}}} \
         fragment A on Mutation {{ ...B }} fragment B on Mutation {{ {SAVE} }}"
    )
}

/// How many commands of the attacked Space the ledger has.
async fn decided(stack: &Stack) -> anyhow::Result<i64> {
    let count = "select count(*) from connector_details_ledger where catalog_guid = $1";
    Ok(sqlx::query_scalar(count)
        .bind(SPACE)
        .fetch_one(&stack.database)
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_in_nested_fragments_are_counted_as_they_are_executed() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let input = json!({ "input": sample() });

    for count in [6, 8, 200] {
        let answer = attacker
            .execute(&hidden_saves(count), input.clone())
            .await?;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED", "{count} saves");
    }
    let named = attacker.with("idempotency-key", "hidden");
    let two = named.execute(&hidden_saves(2), input.clone()).await?;
    assert_eq!((two.status, two.code().as_str()), (400, "BAD_REQUEST"));
    assert_eq!(decided(&attack.stack).await?, 0, "nothing was saved");

    named
        .execute(&hidden_saves(1), input.clone())
        .await?
        .record()?;
    attacker.execute(&hidden_saves(5), input).await?.record()?;
    assert_eq!(decided(&attack.stack).await?, 6, "one, and then five");
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_saves_are_charged_one_by_one() -> anyhow::Result<()> {
    let limits = [("SAVES_PER_SECOND", "10"), ("SAVES_BURST", "100")];
    let attack = Attack::with(&limits).await?;
    let attacker = attack.attacker()?;
    let started = Instant::now();
    let mut accepted = 0.0;
    loop {
        let input = json!({ "input": sample_with("clientId", format!("client {accepted}")) });
        let answer = attacker.execute(&hidden_saves(5), input).await?;
        if answer.status == 429 {
            break;
        }
        answer.record()?;
        accepted += 5.0;
        let allowed = 100.0 + 10.0 * started.elapsed().as_secs_f64();
        ensure!(accepted <= allowed, "{accepted} saves at once");
    }
    attack.others_were_unaffected().await
}
