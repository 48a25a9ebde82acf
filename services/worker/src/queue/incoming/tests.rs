//! Unit tests of how a delivery is read and checked.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proto::{CommandId, ErrorCode, Kind};
use runtime::broker::guard::UNREADABLE_PROPERTIES;

use super::*;

type TestResult = Result<(), String>;

fn body() -> Vec<u8> {
    let body = serde_json::json!({
        "integrationPackInstanceId": "i", "processId": "p", "envId": "e", "connectionId": "c",
        "catalogGuid": "a Space", "isTokenGenerated": false, "clientId": "x",
        "clientSecret": proto::MASK,
        "oauthConnectorDetails": r#"{"baseURL":"https://example.com"}"#,
    });
    body.to_string().into_bytes()
}

/// The envelope of a save from this broker user.
fn envelope(user_id: Option<&str>) -> Result<Envelope, String> {
    let id = CommandId::new("an id").map_err(|error| error.message)?;
    Ok(Envelope {
        user_id: user_id.map(ToOwned::to_owned),
        subject: Some("a person".to_owned()),
        app_id: Some("an app".to_owned()),
        ..Envelope::of(Kind::Save, id)
    })
}

fn publishers() -> Result<PublisherAcl, String> {
    r#"{"gateway": ["*"], "billing": ["a Space"], "other": ["another Space"]}"#.parse()
}

fn delivery(properties: BasicProperties, body: Vec<u8>) -> Delivery {
    let mut delivery = Delivery::mock(7, "".into(), "".into(), true, body);
    delivery.properties = properties;
    delivery
}

fn codes(errors: &[CommandError]) -> Vec<ErrorCode> {
    errors.iter().map(|error| error.code).collect()
}

#[test]
fn a_valid_command_keeps_its_id_and_names_its_author() -> TestResult {
    let envelope = envelope(Some("gateway"))?;

    let change =
        check(&envelope, &body(), &publishers()?).map_err(|errors| format!("{errors:?}"))?;

    assert_eq!(change.command_id.as_str(), "an id");
    assert_eq!(change.updated_by.as_deref(), Some("a person"));
    assert_eq!(change.source.as_deref(), Some("an app"));
    assert!(change.is_plain());
    Ok(())
}

#[test]
fn a_publisher_of_single_spaces_is_the_author_of_its_commands() -> TestResult {
    let envelope = envelope(Some("billing"))?;

    let change =
        check(&envelope, &body(), &publishers()?).map_err(|errors| format!("{errors:?}"))?;

    assert_eq!(change.updated_by.as_deref(), Some("billing"));
    Ok(())
}

#[test]
fn a_publisher_may_not_write_to_the_space_of_another() -> TestResult {
    for user_id in [Some("other"), Some("unknown"), None] {
        let Err(errors) = check(&envelope(user_id)?, &body(), &publishers()?) else {
            return Err(format!("{user_id:?} was allowed"));
        };
        assert_eq!(codes(&errors), [ErrorCode::Forbidden]);
    }
    Ok(())
}

#[test]
fn all_errors_of_a_message_are_returned_at_once() -> TestResult {
    let envelope = Envelope {
        command_id: None,
        priority: Some(1),
        ..envelope(Some("gateway"))?
    };

    let Err(errors) = check(&envelope, b"{}", &PublisherAcl::default()) else {
        return Err("an invalid message was accepted".to_owned());
    };

    let fields: Vec<Option<&str>> = errors.iter().map(|error| error.field.as_deref()).collect();
    for field in ["message_id", "priority", "envId", "clientId"] {
        assert!(fields.contains(&Some(field)), "{field} in {fields:?}");
    }
    Ok(())
}

#[test]
fn a_delivery_is_read_with_its_tag_and_its_time_of_publishing() -> TestResult {
    let envelope = Envelope {
        timestamp: Some(123),
        ..envelope(None)?
    };

    let incoming = Incoming::read(
        delivery(envelope.properties(), body()),
        &PublisherAcl::default(),
    )
    .map_err(|refused| format!("{refused:?}"))?;

    assert_eq!((incoming.tag, incoming.redelivered), (7, true));
    assert_eq!(incoming.published(), 123);
    let refused = incoming.refuse(vec![CommandError::internal()]);
    assert_eq!((refused.tag, refused.body), (7, body()));
    Ok(())
}

#[test]
fn an_unreadable_delivery_is_refused() -> TestResult {
    let mut headers = FieldTable::default();
    headers.insert(UNREADABLE_PROPERTIES.into(), AMQPValue::Boolean(true));
    let properties = envelope(None)?.properties().with_headers(headers);

    let Err(refused) = Incoming::read(delivery(properties, body()), &PublisherAcl::default())
    else {
        return Err("an unreadable delivery was accepted".to_owned());
    };

    assert_eq!(codes(&refused.errors), [ErrorCode::BadRequest]);
    assert_eq!(refused.body, body());
    Ok(())
}
