//! Sends a secret through every interface, and searches for it in every place where data is stored.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SAVE, SPACE, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};
use uuid::Uuid;

/// The files under a folder that contain any of the needles, with what they contain.
fn search(folder: &Path, needles: &[&str]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut content = Vec::new();
            // A file that is gone by now holds nothing.
            if let Ok(mut file) = std::fs::File::open(&path) {
                let _ = file.read_to_end(&mut content);
            }
            for needle in needles {
                if content
                    .windows(needle.len())
                    .any(|window| window == needle.as_bytes())
                {
                    found.push((path.clone(), (*needle).to_owned()));
                }
            }
        }
    }
    Ok(found)
}

/// Every way in which a secret can reach the gateway, and what the gateway answers.
async fn through_every_door(api: &Api, canary: &str) -> anyhow::Result<Vec<Answer>> {
    let inline = gateway::http::pages::graphiql::SAMPLE.replace("dummyValue", canary);
    let details = json!({
        "baseURL": format!("https://user:{canary}@host/?client_secret={canary}"),
        "clientSecret": canary,
        "authParams": { "nested": [{ "pass-word": canary }, { "name": "api_key", "value": canary }] },
        "anything": format!("Bearer {canary}"),
    });
    let mut nested = sample_with("oauthConnectorDetails", details.to_string());
    nested["clientSecret"] = canary.into();
    let mut refused = nested.clone();
    refused["envId"] = "".into();
    let mut wrong_type = sample_with("clientSecret", json!([canary]));
    wrong_type["envId"] = json!({ canary: canary });
    Ok(vec![
        api.execute(&inline, Value::Null).await?,
        api.save(&nested).await?,
        api.save(&refused).await?,
        api.save(&sample_with(
            "oauthConnectorDetails",
            format!("not JSON {canary}"),
        ))
        .await?,
        api.save(&wrong_type).await?,
        api.save(&sample_with(canary, canary)).await?,
        api.execute(&inline.replace('}', ""), Value::Null).await?,
        api.execute(&format!("{{ {canary} }}"), Value::Null).await?,
        api.execute(&format!("{{ __typename @{canary} }}"), Value::Null)
            .await?,
        api.execute(&format!("query ${canary} {{ a }}"), Value::Null)
            .await?,
        api.execute(
            &format!("query a($x: {canary}) {{ __typename ...{canary} }}"),
            Value::Null,
        )
        .await?,
        api.post(format!("{{ \"query\": \"{canary}")).await?,
        api.post(json!({ "query": "{ a }", "operationName": canary }).to_string())
            .await?,
        api.get(&[
            ("query", SAVE),
            ("variables", &json!({ "input": nested }).to_string()),
        ])
        .await?,
        api.get(&[("query", canary)]).await?,
        api.with("idempotency-key", canary).save(&nested).await?,
        api.with("authorization", format!("Bearer {canary}"))
            .save(&nested)
            .await?,
    ])
}

#[tokio::test]
async fn a_submitted_secret_appears_nowhere() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let random = || format!("canary{}", Uuid::new_v4().simple());
    let (gateway, direct, planted) = (random(), random(), random());

    let answers = through_every_door(&api, &gateway).await?;
    let mut publisher = stack.publisher().await?;
    let mut input = sample_with("clientSecret", direct.as_str());
    input["oauthConnectorDetails"] = json!({ "authParams": { "a": direct } }).to_string().into();
    let saved = publisher
        .ask(input.to_string(), Publisher::properties("direct"))
        .await?;
    input["envId"] = "".into();
    let refused = publisher
        .ask(input.to_string(), Publisher::properties("refused"))
        .await?;
    let undecodable = publisher
        .ask(direct.as_str(), Publisher::properties("undecodable"))
        .await?;
    // Found in both servers' files, or the search proves nothing.
    api.save(&sample_with("clientId", planted.as_str()))
        .await?
        .record()?;
    sqlx::query("checkpoint").execute(&stack.database).await?;

    for answer in &answers {
        assert!(
            !answer.body.to_string().contains(&gateway),
            "{}",
            answer.body
        );
    }
    for reply in [saved, refused, undecodable] {
        assert!(!reply.to_string().contains(&direct), "{reply}");
    }
    let needles = [gateway.as_str(), &direct, &planted];
    let found = eventually("the search to find what was planted", async || {
        let found = search(&stack.servers.data, &needles)?;
        let planted_in = |server: &str| {
            found.iter().any(|(path, needle)| {
                *needle == planted && path.starts_with(stack.servers.data.join(server))
            })
        };
        Ok((planted_in("postgres") && planted_in("rabbitmq")).then_some(found))
    })
    .await?;
    let logs = search(&stack.servers.logs, &needles)?;

    assert!(logs.is_empty(), "{logs:?}");
    let postgres = stack.servers.data.join("postgres");
    for (path, needle) in found {
        // A service that publishes a real secret has put it on the broker's disk: said openly.
        let may = needle == planted || (needle == direct && !path.starts_with(&postgres));
        assert!(may, "{needle} is in {}", path.display());
    }
    Ok(())
}
