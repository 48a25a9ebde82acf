//! Secrets that are written in another way than they were submitted.

use anyhow::{Context as _, ensure};
use proto::{MASK, amqp::topology::PARKED};
use serde_json::{Value, json};
use tests::{
    api::{SPACE, sample, sample_with},
    bystander::Attack,
    publisher::Publisher,
};

/// A client secret that breaks the rules of secrets, and as what it stands in the details.
fn invalid_secrets() -> Vec<(Value, String)> {
    let long = "hunter2-".repeat(3000);
    let number = 5_550_123_456_789_u64;
    vec![
        (json!(long), long.clone()),
        (json!(["hunter2-hunter2"]), "hunter2-hunter2".to_owned()),
        (
            json!({ "value": "hunter2-hunter2" }),
            "hunter2-hunter2".to_owned(),
        ),
        (json!(number), number.to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_copy_contains_no_secret_even_if_it_is_invalid() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let mut publisher = attack.stack.publisher().await?;
    for (number, (secret, inside)) in invalid_secrets().into_iter().enumerate() {
        // Refused for its environment in any case.
        let mut body = sample_with("envId", "");
        let details = json!({ "authParams": { "a": inside }, "own": [{ "b": inside }] });
        body["oauthConnectorDetails"] = details.to_string().into();
        body["clientSecret"] = secret.clone();
        let properties = Publisher::properties(&format!("invalid {number}"));
        let reply = publisher.ask(body.to_string(), properties).await?;
        ensure!(reply["outcome"] == "refused", "{reply}");

        let parked = publisher.take(PARKED).await?;
        let stored_text = String::from_utf8_lossy(&parked.raw);
        let text = format!("{stored_text} {reply} {:?}", parked.properties);
        ensure!(!text.contains("hunter2"), "{}: {text:.300}", kind(&secret));
        ensure!(!text.contains("5550123456789"), "a number: {text:.300}");
    }
    attack.others_were_unaffected().await
}

fn kind(secret: &Value) -> &'static str {
    match secret {
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        _ => "another value",
    }
}

/// A submitted secret, the value that it is written as, and what must not be left of it.
const FORMS: [(&str, &str, &str); 8] = [
    ("  hunter2-hunter2 \n", "hunter2-hunter2", "hunter2"),
    (
        "hunter2-hunter2",
        "before hunter2-hunter2 behind",
        "hunter2",
    ),
    ("key\r\nhunter2\r\nkey", "key\nhunter2\nkey", "hunter2"),
    ("key\nhunter2\nkey", "key\r\nhunter2\r\nkey", "hunter2"),
    ("hunter2/+ &=?x", "hunter2%2F%2B%20%26%3D%3Fx", "hunter2"),
    ("hunter2/+ &=?x", "hunter2%2f%2b%20%26%3d%3fx", "hunter2"),
    ("hunter2/+ &=?x", "hunter2%2F%2B+%26%3D%3Fx", "hunter2"),
    ("hunterhunter", "hunterhunterhunter", "hunter"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_secret_is_masked_in_every_form() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    for (secret, written, left) in FORMS {
        let mut input = sample_with("clientSecret", secret);
        let details = json!({ "authParams": { "a": written }, "own": written });
        input["oauthConnectorDetails"] = details.to_string().into();
        let record = attacker.save(&input).await?.record()?;
        let details = record["oauthConnectorDetails"].to_string();
        ensure!(!details.contains(left), "{written:?} left {details}");
        ensure!(details.contains(MASK), "nothing is masked: {details}");
    }
    let stored = stored(&attack).await?;
    ensure!(!stored.contains("hunter"), "{stored}");
    attack.others_were_unaffected().await
}

/// Values of the details that hold a secret, `hunter2`, by their names or by their form.
fn named() -> Vec<Value> {
    let names = [
        "consumerSecret",
        "token_secret",
        "Shared-Secret",
        "sasKey",
        "shared_access_key",
        "passphrase",
        "assertion",
        "x-api-key",
    ];
    let mut values: Vec<_> = names.map(|name| json!({ name: "hunter2" })).into();
    let pairs = [
        ("name", "value"),
        ("key", "val"),
        ("id", "value"),
        ("field", "paramValue"),
        ("param", "val"),
        ("paramName", "paramValue"),
    ];
    values.extend(pairs.map(|(name, value)| json!([{ name: "client_secret", value: "hunter2" }])));
    values.extend([
        json!({ "Authorization": "Basic hunter2" }),
        json!({ "authorization": "Bearer hunter2" }),
        json!({ "body": "grant_type=password&client_secret=hunter2&scope=all" }),
        json!({ "url": "jdbc:postgresql://host/db?user=a&password=hunter2" }),
        json!({ "connection": "Server=host;Database=db;Password=hunter2;Encrypt=true" }),
    ]);
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_masked_under_every_known_name() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    for value in named() {
        let details = json!({ "authParams": { "inner": value } }).to_string();
        let input = sample_with("oauthConnectorDetails", details.as_str());
        let record = attacker.save(&input).await?.record()?;
        let stored_text = record["oauthConnectorDetails"].to_string();
        ensure!(!stored_text.contains("hunter2"), "{stored_text}");
    }
    // A value that is not a secret stays unchanged: the platform's own masks, and an empty base
    // URL.
    for details in [
        r#"{"baseURL":"","authParams":{"password":"[Hidden]","secret":"[[HIDDEN]]"}}"#,
        r#"{"authParams":{"name":"Basic","value":"x","tokenType":"Bearer"}}"#,
    ] {
        let input = sample_with("oauthConnectorDetails", details);
        let record = attacker.save(&input).await?.record();
        let record = record.with_context(|| details)?;
        assert_eq!(record["oauthConnectorDetails"], details);
    }
    let stored = stored(&attack).await?;
    ensure!(!stored.contains("hunter2"), "{stored}");
    attack.others_were_unaffected().await
}

/// Whatever the ledger holds of the attacked Space.
async fn stored(attack: &Attack) -> anyhow::Result<String> {
    let ledger = "select string_agg(c::text, ' ') from connector_details_ledger c
         where catalog_guid = $1 and integration_pack_instance_id = $2";
    Ok(sqlx::query_scalar(ledger)
        .bind(SPACE)
        .bind(sample()["integrationPackInstanceId"].as_str())
        .fetch_one(&attack.stack.database)
        .await?)
}
