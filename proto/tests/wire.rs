//! The command and its reply, as they stand on the wire.

use proptest::prelude::*;
use proto::{Envelope, ErrorCode, MASK, Reply, SaveConnectorDetails};
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
        .unwrap_or_else(|faults| panic!("{faults:?}"))
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
        let _ = proto::parked::redacted(&bytes);
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
            ..Envelope::of(proto::Kind::Save, proto::CommandId::new(id).map_err(|fault| TestCaseError::fail(fault.message))?)
        };

        prop_assert_eq!(Envelope::read(&envelope.properties()), envelope);
    }
}

#[test]
fn replies_are_addressed_to_the_contracts_queues_only() {
    let reply_to = |name: &str| {
        let properties = lapin::BasicProperties::default().with_reply_to(name.into());
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
