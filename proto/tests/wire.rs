//! The JSON of commands and replies.

use proptest::prelude::*;
use proto::{Command, ErrorCode, Kind, MASK, Reply, SaveConnectorDetails, command::MAX_BODY_BYTES};
use serde_json::{Value, json};

fn sample() -> Value {
    json!({
        "integrationPackInstanceId": "test-101",
        "isTokenGenerated": false,
        "oauthConnectorDetails": "{\"baseURL\":\"https://baseURL.com\"}",
        "processId": "1",
        "envId": "2",
        "connectionId": "3",
        "catalogGuid": "796eeeb4-1b2f-4965-898a-7e443",
        "clientId": "dummyClientId",
        "clientSecret": "dummyValue",
    })
}

fn decoded(body: &Value) -> SaveConnectorDetails {
    SaveConnectorDetails::decode(body.to_string().as_bytes())
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn an_encoded_command_has_the_fields_of_the_input_and_the_mask() -> anyhow::Result<()> {
    let command = decoded(&sample());

    let encoded: Value = serde_json::from_slice(&serde_json::to_vec(&command)?)?;

    let mut expected = sample();
    expected["clientSecret"] = MASK.into();
    assert_eq!(encoded, expected);
    assert!(!format!("{command:?}").contains("dummyValue"));
    Ok(())
}

#[test]
fn a_fingerprint_depends_on_every_field_but_the_secret() {
    let fingerprint = |field: &str, value: Value| {
        let mut body = sample();
        body[field] = value;
        decoded(&body).fingerprint()
    };
    let sample = decoded(&sample()).fingerprint();

    assert_eq!(fingerprint("clientSecret", "another".into()), sample);
    for field in [
        "processId",
        "envId",
        "connectionId",
        "catalogGuid",
        "clientId",
    ] {
        assert_ne!(fingerprint(field, "another".into()), sample, "{field}");
    }
    assert_ne!(fingerprint("isTokenGenerated", true.into()), sample);
    assert_ne!(fingerprint("oauthConnectorDetails", "{}".into()), sample);
}

#[test]
fn replies_have_the_published_form() -> anyhow::Result<()> {
    let saved = json!({
        "commandId": "c",
        "outcome": "saved",
        "record": {
            "id": "i", "integrationPackInstanceId": "a", "isTokenGenerated": true,
            "oauthConnectorDetails": "{}", "processId": "b", "envId": "e", "connectionId": "n",
            "catalogGuid": "g", "clientId": "k", "revision": 3,
            "updatedAt": "2026-01-02T03:04:05.678901Z", "updatedBy": null,
        },
    });
    let refused = json!({
        "commandId": null,
        "outcome": "refused",
        "errors": [
            { "code": "BAD_USER_INPUT", "field": "envId", "message": "m" },
            { "code": "CONFLICT", "message": "m" },
        ],
    });

    for body in [saved, refused] {
        let reply: Reply = serde_json::from_value(body.clone())?;
        assert_eq!(serde_json::to_value(&reply)?, body);
    }
    Ok(())
}

#[test]
fn a_code_has_the_same_text_in_json_and_in_headers() -> anyhow::Result<()> {
    for code in [
        ErrorCode::BadRequest,
        ErrorCode::BadUserInput,
        ErrorCode::Forbidden,
        ErrorCode::Conflict,
        ErrorCode::Expired,
        ErrorCode::InternalServerError,
    ] {
        assert_eq!(serde_json::to_value(code)?, code.as_str());
    }
    Ok(())
}

#[test]
fn a_record_drops_a_secret() -> anyhow::Result<()> {
    let reply: Reply = serde_json::from_value(json!({
        "commandId": "c",
        "outcome": "saved",
        "record": {
            "id": "i", "integrationPackInstanceId": "a", "isTokenGenerated": true,
            "oauthConnectorDetails": "{}", "processId": "b", "envId": "e", "connectionId": "n",
            "catalogGuid": "g", "clientId": "k", "revision": 3, "updatedBy": null,
            "updatedAt": "2026-01-02T03:04:05Z", "clientSecret": "dummyValue",
        },
    }))?;

    assert!(!serde_json::to_string(&reply)?.contains("dummyValue"));
    Ok(())
}

/// A text with each of its bytes written as an escape of six characters.
fn escaped(text: &str) -> String {
    let escape = |all: String, byte| all + &format!("\\u{byte:04x}");
    text.bytes().fold(String::new(), escape)
}

#[test]
fn the_largest_command_fits_even_if_every_byte_is_escaped() {
    let details = format!(r#"{{"a":"{}"}}"#, "x".repeat(65_536 - 8));
    let mut fields = vec![
        ("oauthConnectorDetails", details),
        ("clientSecret", "s".repeat(16 * 1024)),
        ("clientId", "c".repeat(1024)),
    ];
    for id in [
        "integrationPackInstanceId",
        "processId",
        "envId",
        "connectionId",
        "catalogGuid",
    ] {
        fields.push((id, "i".repeat(255)));
    }
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!(r#""{}":"{}""#, escaped(name), escaped(value)))
        .collect();
    let body = format!(r#"{{{},"isTokenGenerated":true}}"#, fields.join(","));

    assert!(body.len() < MAX_BODY_BYTES, "{}", body.len());
    assert!(SaveConnectorDetails::decode(body.as_bytes()).is_ok());
}

#[test]
fn a_body_that_is_too_large_is_refused_without_being_parsed() {
    let sample = sample().to_string();
    let padded = |bytes: usize| format!("{sample}{}", " ".repeat(bytes - sample.len()));
    let refused = |kind, body: &str| match Command::decode(kind, body.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };

    assert_eq!(refused(Kind::Save, &padded(MAX_BODY_BYTES)), []);
    // The second body is not JSON. It gets the same error, because it is not parsed.
    for body in [padded(MAX_BODY_BYTES + 1), "{".repeat(MAX_BODY_BYTES + 1)] {
        for kind in [Kind::Save, Kind::Delete] {
            let errors = refused(kind, &body);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].code, ErrorCode::BadRequest);
            assert_eq!(errors[0].field.as_deref(), Some("body"));
        }
        assert!(proto::amqp::parked::redacted(body.as_bytes()).is_empty());
    }
}

#[test]
fn an_expected_revision_is_an_integer_in_the_sense_of_json_schema() {
    let expected = |number: &str| {
        let body =
            sample()
                .to_string()
                .replacen('{', &format!(r#"{{"expectedRevision":{number},"#), 1);
        match SaveConnectorDetails::decode(body.as_bytes()) {
            Ok(command) => Ok(command.expected_revision.map(proto::ExpectedRevision::get)),
            Err(errors) => Err(errors
                .iter()
                .map(|error| error.message.clone())
                .collect::<String>()),
        }
    };
    for (number, revision) in [
        ("4", 4),
        ("4.0", 4),
        ("4e2", 400),
        ("-0", 0),
        ("9007199254740991", 9_007_199_254_740_991),
        ("4.00000000000000000000000000000", 4),
        ("0.4e1", 4),
        ("9007199254740991.0", 9_007_199_254_740_991),
    ] {
        assert_eq!(expected(number), Ok(Some(revision)), "{number}");
    }
    assert_eq!(expected("null"), Ok(None));
    let too_large = "expectedRevision must be at most 9007199254740991.";
    for (number, message) in [
        ("4.5", "expectedRevision must be a whole number."),
        ("true", "expectedRevision must be a whole number."),
        ("-1", "expectedRevision must be 0 or more."),
        (
            "-9223372036854775809",
            "expectedRevision must be 0 or more.",
        ),
        ("9007199254740992", too_large),
        ("9007199254740992.0", too_large),
        ("9223372036854775807", too_large),
        ("9223372036854775808", too_large),
        ("1e300", too_large),
        ("1e400", too_large),
        ("\"4\"", "expectedRevision must be a whole number."),
    ] {
        assert_eq!(expected(number), Err(message.to_owned()), "{number}");
    }
}

proptest! {
    #[test]
    fn decoding_an_encoded_command_gives_the_same_command(
        ids in proptest::collection::vec("[^\\p{Cc}]{0,20}[a-z€]", 6),
        flag in any::<bool>(),
        secret in "[a-z]{1,30}",
    ) {
        let body = json!({
            "integrationPackInstanceId": ids[0], "processId": ids[1], "envId": ids[2],
            "connectionId": ids[3], "catalogGuid": ids[4], "clientId": ids[5],
            "isTokenGenerated": flag, "clientSecret": secret,
            "oauthConnectorDetails": json!({ "authParams": { "x": format!("<{secret}>") } }).to_string(),
        });
        let command = decoded(&body);
        let encoded = serde_json::to_vec(&command).map_err(|error| TestCaseError::fail(error.to_string()))?;

        prop_assert_eq!(SaveConnectorDetails::decode(&encoded), Ok(command));
    }

    #[test]
    fn validation_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = SaveConnectorDetails::decode(&bytes);
        let _ = proto::amqp::parked::redacted(&bytes);
    }
}
