//! Attacks with ids, replies and keys that belong to others.

use std::{fs, time::Duration};

use anyhow::ensure;
use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::Algorithm;
use lapin::{BasicProperties, options::BasicPublishOptions};
use serde_json::{Value, json};
use tests::{
    api::{Api, FIND, SPACE, key, sample, sample_with},
    bystander::Attack,
    eventually,
    keys::{Issuer, claims},
};
use tokio::time::{Instant, sleep};
use uuid::{Builder, Uuid};

/// Of a command's id: made of Space, subject and key, where it is not random.
const HEAD_BYTES: usize = 10;
const FORGING: Duration = Duration::from_secs(6);
/// Forged replies to a client that waits for another command.
const IGNORED: &str =
    r#"connector_details_replies_ignored_total{service="gateway",reason="another command"}"#;

/// The command id as everybody can compute it who knows Space, subject and `Idempotency-Key`, without
/// any secret of the service.
fn computed_id(space: &str, subject: &str, key: &str) -> String {
    let mut bytes = [0; 16];
    let head = hash(&[space.as_bytes(), subject.as_bytes(), key.as_bytes()]);
    bytes[..HEAD_BYTES].copy_from_slice(&head[..HEAD_BYTES]);
    bytes = Builder::from_custom_bytes(bytes).into_uuid().into_bytes();
    let tail = hash(&[space.as_bytes(), &bytes[..HEAD_BYTES]]);
    bytes[HEAD_BYTES..].copy_from_slice(&tail[..16 - HEAD_BYTES]);
    Uuid::from_bytes(bytes).to_string()
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    digest(&SHA256, &all).as_ref().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_cannot_compute_the_command_id_of_another() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let victim = Api::for_subject(&attack.gateway()?.url, SPACE, "victim")?;
    let named = victim.with("idempotency-key", "order 7");
    let computed = computed_id(SPACE, "victim", "order 7");

    // Before the victim does, the attacker uses the id up for something else; then asks for it.
    let mut other = sample_with("connectionId", "the attacker's");
    let using = attacker.with("idempotency-key", computed.as_str());
    using.save(&other).await?.record()?;
    let saved = named.save(&sample()).await?.record();
    let document = format!("{{ saveCommand(id: \"{computed}\") {{ status record {{ id }} }} }}");
    let state = attacker.execute(&document, json!({})).await?.record()?;
    other["clientId"] = "changed".into();
    let again = named.save(&sample()).await?;

    ensure!(saved.is_ok(), "the victim gets a conflict: {saved:?}");
    ensure!(
        state["status"] == "UNDECIDED",
        "the attacker learns: {state}"
    );
    assert_eq!(again.record()?["revision"], 1, "its own repeats still are");
    // The same if the attacker comes second.
    let computed = computed_id(SPACE, "victim", "order 8");
    let first = victim.with("idempotency-key", "order 8");
    first.save(&sample()).await?.record()?;
    let late = attacker.with("idempotency-key", computed.as_str());
    late.save(&other).await?.record()?;
    attack.others_were_unaffected().await
}

/// The queues that gateways get their answers from.
async fn reply_queues(attack: &Attack) -> anyhow::Result<Vec<String>> {
    let path = format!("queues/{}", attack.stack.vhost);
    eventually("the gateway's queue", async || {
        let all = attack.stack.broker(&path).await?;
        let names = all.as_array().into_iter().flatten();
        let names = names.filter_map(|queue| queue["name"].as_str().map(ToOwned::to_owned));
        let names: Vec<_> = names.filter(|it| it.starts_with("ipack.reply.")).collect();
        Ok((!names.is_empty()).then_some(names))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_reply_is_ignored() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let publisher = attack.stack.publisher().await?;
    let queues = reply_queues(&attack).await?;
    let error = json!({ "code": "FORBIDDEN", "field": "catalogGuid", "message": "forged" });
    let forged = json!({ "commandId": "another", "outcome": "refused", "errors": [error] });
    let forged = forged.to_string();
    let until = Instant::now() + FORGING;

    // Each pending reply has a small number as its correlation id.
    while Instant::now() < until {
        for id in 0..100 {
            let properties = BasicProperties::default()
                .with_type("SaveConnectorDetailsReply.v1".into())
                .with_content_type("application/json".into())
                .with_correlation_id(id.to_string().into());
            for queue in &queues {
                let options = BasicPublishOptions::default();
                let publish = publisher.channel.basic_publish(
                    "".into(),
                    queue.as_str().into(),
                    options,
                    forged.as_bytes(),
                    properties.clone(),
                );
                publish.await?;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
    // Otherwise none of them met a save that waited, and nothing was proved.
    let ignored = attack.gateway()?.metric(IGNORED).await?;
    ensure!(ignored > 0.0, "no forged reply came while a client waited");
    attack.others_were_unaffected().await
}

async fn status(api: &Api, issuer: &Issuer, subject: &str) -> anyhow::Result<u16> {
    let mut claims = claims(SPACE);
    claims["sub"] = subject.into();
    let bearer = format!("Bearer {}", issuer.sign(&claims)?);
    let input = json!({ "input": key(&sample()) });
    let api = api.with("authorization", bearer);
    Ok(api.execute(FIND, input).await?.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_keys_are_replaced_only_by_valid_keys() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let issuer = |kid| Issuer::new(Algorithm::ES256, kid);
    let (good, later, encrypts) = (issuer("good")?, issuer("later")?, issuer("encrypts")?);
    let file = attack
        .stack
        .servers
        .logs
        .join(format!("{}.jwks", attack.stack.vhost));
    let publish = |keys: &[Value]| fs::write(&file, json!({ "keys": keys }).to_string());
    publish(&[good.jwk()?])?;
    let gateway = attack.stack.gateway_with(vec![
        ("JWKS_FILE", file.display().to_string()),
        ("JWKS_PAUSE", "1s".to_owned()),
    ])?;
    gateway.becomes("ready").await?;
    let api = Api::new(&gateway.url, SPACE)?;
    assert_eq!(status(&api, &good, "anna").await?, 200);

    // An unknown key id makes the gateway read the keys again, at most once per second.
    publish(&[])?;
    for number in 0..4 {
        assert_ne!(status(&api, &later, "eve").await?, 200);
        sleep(Duration::from_millis(600)).await;
        let subject = format!("anna {number}");
        assert_eq!(status(&api, &good, &subject).await?, 200, "no keys at all");
    }
    let mut encryption = encrypts.jwk()?;
    encryption["use"] = "enc".into();
    publish(&[good.jwk()?, later.jwk()?, encryption])?;
    eventually("the later key to be known", async || {
        Ok((status(&api, &later, "ben").await? == 200).then_some(()))
    })
    .await?;
    assert_eq!(
        status(&api, &encrypts, "eve").await?,
        401,
        "it signs nothing"
    );
    attack.others_were_unaffected().await
}
