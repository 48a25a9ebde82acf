//! A parked copy keeps the valid fields, and holds no secret, not even an invalid one.

use serde_json::json;

use super::*;

const SECRET: &str = "hunter2/hunter2";

fn kept(body: &Value) -> Value {
    serde_json::from_slice(&redacted(body.to_string().as_bytes())).unwrap_or_default()
}

fn body(secret: Value, details: &Value) -> Value {
    let mut body = json!({
        "integrationPackInstanceId": "pack", "isTokenGenerated": true, "processId": "1",
        "envId": "2", "connectionId": "3", "catalogGuid": "space", "clientId": "client",
        "oauthConnectorDetails": details.to_string(), "expectedRevision": 4,
    });
    body["clientSecret"] = secret;
    body
}

/// Values of `clientSecret` that are not valid. Each contains [`SECRET`].
fn invalid() -> Vec<Value> {
    vec![
        json!(format!("{}{SECRET}", " ".repeat(20_000))),
        json!([SECRET]),
        json!(["another", [1, { "a": SECRET }]]),
        json!({ SECRET: true }),
        json!([format!("{MASK}{SECRET}")]),
        json!(vec![SECRET; 1000]),
        json!([1.5, SECRET]),
    ]
}

#[test]
fn a_copy_never_holds_an_invalid_secret() {
    let encoded = SECRET.replace('/', "%2F");
    let details = [
        json!({ "authParams": { "a": [SECRET] } }),
        json!({ "baseURL": format!("https://h/{SECRET}"), "companyId": SECRET }),
        json!({ "a": format!("x={encoded}") }),
        json!({ SECRET: 1 }),
    ];
    for secret in invalid() {
        for details in &details {
            let kept = kept(&body(secret.clone(), details));
            assert_eq!(kept["processId"], "1", "{kept}");
            assert_eq!(kept["clientSecret"], MASK, "{kept}");
            assert!(!kept.to_string().contains("hunter2"), "{kept}");
        }
    }
    let number = kept(&body(json!(12_345_678), &json!({ "a": 12_345_678 })));
    assert_eq!(number.get("oauthConnectorDetails"), None);
}

#[test]
fn a_copy_keeps_details_without_the_invalid_secret() {
    let details = json!({ "baseURL": "", "authParams": { "password": "pw", "scope": "read" } });
    let masked = details.to_string().replace("pw", MASK);
    let long = "x".repeat(300_000);
    for secret in [
        json!([SECRET]),
        json!({ "other": [12_345_678, true, null] }),
        json!(long),
        json!(MASK),
        json!([MASK]),
        json!(["client"]),
        json!(" "),
        json!(null),
        json!(false),
    ] {
        assert_eq!(
            kept(&body(secret, &details))["oauthConnectorDetails"],
            masked
        );
    }
    let mut without = body(json!(1), &details);
    without
        .as_object_mut()
        .map(|body| body.remove("clientSecret"));
    let kept = kept(&without);
    assert_eq!(kept["oauthConnectorDetails"], masked);
    assert_eq!(kept.get("clientSecret"), None);
}

#[test]
fn a_copy_of_a_deletion_keeps_its_valid_fields() {
    let deletion = json!({
        "integrationPackInstanceId": "pack", "processId": "1", "envId": "2",
        "connectionId": "3", "catalogGuid": "space", "expectedRevision": 4,
    });
    assert_eq!(kept(&deletion), deletion);

    let mut invalid = deletion.clone();
    invalid["envId"] = json!(["2"]);
    invalid["processId"] = json!("x".repeat(256));
    let kept = kept(&invalid);
    assert_eq!(kept.get("envId").or(kept.get("processId")), None);
    assert_eq!(kept["connectionId"], "3");
}

#[test]
fn a_body_that_cannot_be_read_is_not_kept() {
    for body in [
        "",
        "hunter2",
        "[]",
        "{",
        r#"{"envId":"2","note":"hunter2"}"#,
        r#"{"envId":"2","envId":"hunter2"}"#,
        r#"["pack",true,"{}","1","2","3","space","client","hunter2"]"#,
        &"[".repeat(100_000),
        &format!(r#"{{"clientSecret":{}}}"#, "[".repeat(100_000)),
    ] {
        assert_eq!(redacted(body.as_bytes()), b"", "{body:.40}");
    }
}
