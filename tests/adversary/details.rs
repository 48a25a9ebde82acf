//! Details that are full of what URLs and forms are made of.

use std::time::Instant;

use anyhow::ensure;
use serde_json::json;
use tests::{
    api::sample_with,
    bystander::{Attack, PROMPT},
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
    attack.others_were_unaffected().await
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
    attack.others_were_unaffected().await
}
