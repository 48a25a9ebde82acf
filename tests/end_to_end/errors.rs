//! Errors name every invalid field, and an invalid request saves nothing.

use serde_json::{Value, json};
use tests::{
    api::{SAVE, SPACE, sample, sample_with},
    stack::Stack,
};

/// The keys of the details that the API names.
const KEYS: [&str; 5] = [
    "baseURL",
    "companyId",
    "clientId",
    "authParams",
    "accessTokenParams",
];

fn field_errors(code: &str, fields: &[&str]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|field| (code.to_owned(), (*field).to_owned()))
        .collect()
}

async fn nothing_is_saved(stack: &Stack) -> anyhow::Result<bool> {
    let decided: i64 = sqlx::query_scalar("select count(*) from connector_details_ledger")
        .fetch_one(&stack.database)
        .await?;
    Ok(decided == 0)
}

#[tokio::test]
async fn all_invalid_values_are_reported_at_once() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let strings = [
        "integrationPackInstanceId",
        "oauthConnectorDetails",
        "processId",
        "envId",
        "connectionId",
        "catalogGuid",
        "clientId",
        "clientSecret",
    ];

    for bad in ["", " \t"] {
        let mut input = sample();
        for field in strings {
            input[field] = bad.into();
        }
        let answer = stack.api(SPACE)?.save(&input).await?;

        assert_eq!(answer.errors(), field_errors("BAD_USER_INPUT", &strings));
        let data = &answer.body["data"];
        assert_eq!(
            *data,
            json!({ "saveIPackInstanceOauthConnectorDetails": null })
        );
    }
    assert!(nothing_is_saved(&stack).await?);
    Ok(())
}

/// Details with so many levels.
fn nested_details(depth: usize) -> String {
    format!(
        "{{\"a\":{}{}}}",
        "[".repeat(depth - 1),
        "]".repeat(depth - 1)
    )
}

/// Details of so many bytes.
fn long_details(bytes: usize) -> String {
    format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8))
}

/// Values that are refused, with their fields.
fn refused_values() -> [(&'static str, String); 19] {
    [
        ("envId", "x".repeat(256)),
        ("envId", "é".repeat(128)),
        ("processId", "line\nend".to_owned()),
        ("connectionId", "nul\0".to_owned()),
        ("clientId", "x".repeat(1025)),
        ("clientSecret", "x".repeat(16 * 1024 + 1)),
        ("oauthConnectorDetails", "not JSON".to_owned()),
        ("oauthConnectorDetails", "[]".to_owned()),
        ("oauthConnectorDetails", "{\"a\":1} x".to_owned()),
        ("oauthConnectorDetails", nested_details(33)),
        ("oauthConnectorDetails", long_details(64 * 1024 + 1)),
        (
            "oauthConnectorDetails",
            r#"{"baseURL":"/relative"}"#.to_owned(),
        ),
        (
            "oauthConnectorDetails",
            r#"{"baseURL":"ftp://host"}"#.to_owned(),
        ),
        ("oauthConnectorDetails", r#"{"baseURL":5}"#.to_owned()),
        ("oauthConnectorDetails", r#"{"baseURL":" "}"#.to_owned()),
        ("oauthConnectorDetails", r#"{"companyId":5}"#.to_owned()),
        ("oauthConnectorDetails", r#"{"clientId":null}"#.to_owned()),
        ("oauthConnectorDetails", r#"{"authParams":[]}"#.to_owned()),
        (
            "oauthConnectorDetails",
            r#"{"accessTokenParams":"x"}"#.to_owned(),
        ),
    ]
}

/// Values that are accepted, with their fields.
fn accepted_values() -> [(&'static str, String); 10] {
    [
        ("envId", "x".repeat(255)),
        ("envId", "é".repeat(127)),
        ("clientId", "x".repeat(1024)),
        ("clientSecret", "x".repeat(16 * 1024)),
        (
            "clientSecret",
            "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n".to_owned(),
        ),
        ("oauthConnectorDetails", "{}".to_owned()),
        ("oauthConnectorDetails", r#"{"baseURL":""}"#.to_owned()),
        ("oauthConnectorDetails", nested_details(32)),
        ("oauthConnectorDetails", long_details(64 * 1024)),
        (
            "oauthConnectorDetails",
            r#" {"other":1e999,"other":"\u00e9"} "#.to_owned(),
        ),
    ]
}

#[tokio::test]
async fn each_value_has_its_limits() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;

    for (field, value) in refused_values() {
        let answer = api.save(&sample_with(field, value.as_str())).await?;
        assert_eq!(
            answer.errors(),
            field_errors("BAD_USER_INPUT", &[field]),
            "{field} {value:.40}"
        );
        let key = KEYS
            .iter()
            .find(|key| value.starts_with(&format!("{{\"{key}\"")));
        let key_name = &answer.body["errors"][0]["extensions"]["key"];
        assert_eq!(key_name.as_str(), key.copied(), "{value:.40}");
    }
    assert!(nothing_is_saved(&stack).await?);
    for (field, value) in accepted_values() {
        let record = api
            .save(&sample_with(field, value.as_str()))
            .await?
            .record()?;
        if field != "clientSecret" {
            assert_eq!(record[field], value);
        }
    }
    Ok(())
}

#[tokio::test]
async fn five_keys_of_the_longest_kind_fit_the_index() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    // Random, since the index would compress a repetition.
    let long = |n: u32| {
        (0..85_u32)
            .filter_map(|at| char::from_u32(0x4E00 + (at * 7919 + n * 104_729) % 20_000))
            .collect::<String>()
    };
    let mut input = sample();
    for (n, field) in (1..).zip([
        "integrationPackInstanceId",
        "processId",
        "envId",
        "connectionId",
    ]) {
        input[field] = long(n).into();
    }

    let record = stack.api(SPACE)?.save(&input).await?.record()?;

    assert_eq!(record["envId"], input["envId"]);
    Ok(())
}

#[tokio::test]
async fn a_missing_field_or_a_wrong_type_is_refused_by_the_schema() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;

    for field in sample()
        .as_object()
        .into_iter()
        .flat_map(|input| input.keys())
    {
        let mut without = sample();
        if let Some(input) = without.as_object_mut() {
            input.remove(field);
        }
        for input in [
            without,
            sample_with(field, Value::Null),
            sample_with(field, 5),
        ] {
            let answer = api.save(&input).await?;
            assert_eq!(
                answer.errors(),
                field_errors("GRAPHQL_VALIDATION_FAILED", &[field]),
                "{input}"
            );
            assert!(answer.body.get("data").is_none());
        }
    }
    assert!(nothing_is_saved(&stack).await?);
    Ok(())
}

#[tokio::test]
async fn inputs_are_checked_before_the_first_of_two_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let two = |second: &str| {
        format!(
            "mutation($one: SaveIPackInstanceOauthConnectorDetailsInput!,
                      $two: SaveIPackInstanceOauthConnectorDetailsInput!, $env: String!) {{
                one: saveIPackInstanceOauthConnectorDetails(input: $one) {{ id }}
                two: saveIPackInstanceOauthConnectorDetails(input: {second}) {{ id }}
            }}"
        )
    };
    let one = sample();

    for (second, variables, field) in [
        ("$two", json!({ "one": one, "env": "x" }), "input"),
        (
            "$two",
            json!({ "one": one, "two": "a string", "env": "x" }),
            "input",
        ),
        (
            "\"a string\"",
            json!({ "one": one, "two": one, "env": "x" }),
            "input",
        ),
        (
            "{ envId: $env }",
            json!({ "one": one, "two": one }),
            "envId",
        ),
    ] {
        let answer = api.execute(&two(second), variables).await?;
        assert_eq!(
            answer.errors(),
            field_errors("GRAPHQL_VALIDATION_FAILED", &[field]),
            "{second}"
        );
    }
    assert!(nothing_is_saved(&stack).await?);
    Ok(())
}

#[tokio::test]
async fn a_refused_save_does_not_affect_the_other_save_of_the_request() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let query = "mutation($a: SaveIPackInstanceOauthConnectorDetailsInput!,
                          $b: SaveIPackInstanceOauthConnectorDetailsInput!) {
        a: saveIPackInstanceOauthConnectorDetails(input: $a) { revision }
        b: saveIPackInstanceOauthConnectorDetails(input: $b) { revision }
    }";

    let variables = json!({ "a": sample_with("envId", ""), "b": sample() });
    let answer = stack.api(SPACE)?.execute(query, variables).await?;

    assert_eq!(
        answer.body["data"],
        json!({ "a": null, "b": { "revision": 1 } })
    );
    assert_eq!(answer.errors(), field_errors("BAD_USER_INPUT", &["envId"]));
    assert_eq!(answer.body["errors"][0]["path"], json!(["a"]));
    Ok(())
}

#[tokio::test]
async fn validation_errors_are_reported_before_permission_errors() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut input = sample_with("envId", "");
    input["catalogGuid"] = "another Space".into();

    let answer = stack.api(SPACE)?.save(&input).await?;

    assert_eq!(answer.errors(), field_errors("BAD_USER_INPUT", &["envId"]));
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_is_accepted_with_one_save_only() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let twice = SAVE.replace(
        "saveIPack",
        "first: saveIPackInstanceOauthConnectorDetails(input: $input) { id }
         second: saveIPack",
    );
    let variables = json!({ "input": sample() });

    let several = api
        .with("idempotency-key", "k")
        .execute(&twice, variables)
        .await?;
    let long = api
        .with("idempotency-key", "k".repeat(256))
        .save(&sample())
        .await?;
    let fits = api
        .with("idempotency-key", "k".repeat(255))
        .save(&sample())
        .await?;

    assert_eq!(
        (several.status, several.code().as_str()),
        (400, "BAD_REQUEST")
    );
    assert_eq!((long.status, long.code().as_str()), (400, "BAD_REQUEST"));
    assert_eq!(
        fits.record()?["revision"],
        1,
        "the two before saved nothing"
    );
    Ok(())
}

/// The variables are checked with each request, also if the document is in the cache.
#[tokio::test]
async fn variables_are_checked_for_a_cached_document() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let inputs = [
        ("a field is missing", {
            let mut input = sample();
            input.as_object_mut().map(|fields| fields.remove("envId"));
            input
        }),
        ("a field is unknown", sample_with("more", 1)),
        ("a field is of another type", sample_with("envId", 1)),
        (
            "the flag is of another type",
            sample_with("isTokenGenerated", "yes"),
        ),
        ("a field is null", sample_with("clientId", Value::Null)),
        ("no object", json!([1])),
        ("nothing", Value::Null),
    ];
    let mut answers = Vec::new();
    for _ in 0..2 {
        for (what, input) in &inputs {
            let answer = api.execute(SAVE, json!({ "input": input })).await?;
            anyhow::ensure!(
                answer.code().contains("GRAPHQL_VALIDATION_FAILED"),
                "{what}: {}",
                answer.body
            );
            let error = &answer.body["errors"][0];
            answers.push((
                error["message"].clone(),
                error["extensions"]["field"].clone(),
            ));
        }
        for _ in 0..2 {
            api.save(&sample()).await?.record()?;
        }
    }
    let (before, after) = answers.split_at(inputs.len());
    assert_eq!(before, after);
    Ok(())
}
