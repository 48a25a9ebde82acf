//! The command and its reply, as they stand on the wire.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proptest::prelude::*;
use proto::{
    Command, Envelope, ErrorCode, Kind, MASK, Reply, SaveConnectorDetails, command::MAX_BODY_BYTES,
};
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
fn a_command_is_the_mutations_input_with_the_mask() -> anyhow::Result<()> {
    let command = decoded(&sample());

    let encoded: Value = serde_json::from_slice(&serde_json::to_vec(&command)?)?;

    let mut expected = sample();
    expected["clientSecret"] = MASK.into();
    assert_eq!(encoded, expected);
    assert!(!format!("{command:?}").contains("dummyValue"));
    Ok(())
}

#[test]
fn a_fingerprint_tells_what_is_said_and_not_the_secret() {
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
fn replies_are_what_the_contract_shows() -> anyhow::Result<()> {
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
fn a_code_is_written_the_same_everywhere() -> anyhow::Result<()> {
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
fn a_record_has_no_place_for_a_secret() -> anyhow::Result<()> {
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

/// A text with each of its bytes as an escape of six.
fn escaped(text: &str) -> String {
    let escape = |all: String, byte| all + &format!("\\u{byte:04x}");
    text.bytes().fold(String::new(), escape)
}

#[test]
fn the_largest_command_fits_however_it_is_written() {
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
fn a_body_that_is_too_large_is_refused_by_name_and_not_read() {
    let sample = sample().to_string();
    let padded = |bytes: usize| format!("{sample}{}", " ".repeat(bytes - sample.len()));
    let refused = |kind, body: &str| match Command::decode(kind, body.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };

    assert_eq!(refused(Kind::Save, &padded(MAX_BODY_BYTES)), []);
    // What is not read is not known to be JSON.
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
fn an_expected_revision_is_read_as_json_schema_reads_it() {
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

fn with_header(name: &str, value: &str) -> Envelope {
    with_headers(&[(name, value)])
}

fn with_headers(headers: &[(&str, &str)]) -> Envelope {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    Envelope::read(&BasicProperties::default().with_headers(table))
}

#[test]
fn a_blank_property_is_as_good_as_none() {
    for blank in [" ", "\u{a0}\u{2003}"] {
        let properties = BasicProperties::default()
            .with_user_id(blank.into())
            .with_app_id("billing".into());

        assert_eq!(with_header("x-subject", blank).subject, None);
        assert_eq!(Envelope::read(&properties).updated_by(), Some("billing"));
    }
    assert_eq!(with_header("x-subject", " ann").updated_by(), Some(" ann"));
}

#[test]
fn a_trace_context_is_bounded_and_in_the_form_of_w3c() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let state = |bytes: usize| {
        let state = "s".repeat(bytes);
        with_headers(&[("traceparent", parent), ("tracestate", &state)]).tracestate
    };

    assert_eq!(
        with_header("traceparent", parent).traceparent.as_deref(),
        Some(parent)
    );
    assert_eq!(with_header("traceparent", "00-abc").traceparent, None);
    assert_eq!(state(512).map(|state| state.len()), Some(512));
    assert_eq!(state(513), None);
    assert_eq!(with_header("tracestate", "vendor=1").tracestate, None);
}

#[test]
fn a_parked_copy_has_no_expiration_priority_encoding_or_reply_address() {
    let envelope = Envelope::read(
        &BasicProperties::default()
            .with_message_id("c".into())
            .with_priority(9)
            .with_content_encoding("gzip".into())
            .with_expiration("1000".into())
            .with_reply_to("ipack.reply.mine".into()),
    );

    let parked = proto::amqp::parked::properties(&envelope, &proto::CommandError::internal(), 0);

    assert_eq!(
        (envelope.priority, envelope.content_encoding.as_deref()),
        (Some(9), Some("gzip"))
    );
    assert_eq!(*parked.priority(), None);
    assert_eq!(*parked.expiration(), None, "it would vanish");
    assert_eq!(*parked.content_encoding(), None);
    assert_eq!(*parked.reply_to(), None);
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same(
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
    fn no_bytes_make_the_door_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = SaveConnectorDetails::decode(&bytes);
        let _ = proto::amqp::parked::redacted(&bytes);
    }

    #[test]
    fn reading_properties_gives_what_was_written(
        id in "[a-z0-9-]{1,255}",
        subject in proptest::option::of("[a-z@.]{1,255}"),
        app in proptest::option::of("[a-z]{1,20}"),
    ) {
        let envelope = Envelope {
            subject,
            app_id: app,
            correlation_id: Some("7".to_owned()),
            reply_to: Some("ipack.reply.mine".to_owned()),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ..Envelope::of(Kind::Save, proto::CommandId::new(id).map_err(|error| TestCaseError::fail(error.message))?)
        };

        prop_assert_eq!(Envelope::read(&envelope.properties()), envelope);
    }
}

#[test]
fn replies_are_addressed_to_the_contracts_queues_only() {
    let reply_to = |name: &str| {
        let properties = BasicProperties::default().with_reply_to(name.into());
        Envelope::read(&properties).reply_to
    };

    for name in ["amq.rabbitmq.reply-to.g1h2AA", "ipack.reply.mine"] {
        assert_eq!(reply_to(name).as_deref(), Some(name));
    }
    for name in [
        "",
        "ipack.reply.",
        "ipack.connector-details.v1",
        "amq.rabbitmq.reply-to",
        "mine",
    ] {
        assert_eq!(reply_to(name), None);
    }
}
