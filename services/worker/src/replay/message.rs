//! Reads the properties of a parked message.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use proto::{Envelope, Kind, amqp::parked};
use time::{Duration, OffsetDateTime};

/// The latest time at which the command may have been published: the earlier one of its publisher's timestamp
/// and of the time when it was parked. `None` if both are missing.
pub(super) fn published(
    properties: &BasicProperties,
    envelope: &Envelope,
) -> Option<OffsetDateTime> {
    let timestamp = envelope
        .timestamp
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok());
    let headers = properties.headers().as_ref();
    let parked_at = match headers.and_then(|headers| headers.inner().get(parked::PARKED_AT)) {
        Some(AMQPValue::LongLongInt(milliseconds)) => {
            OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(*milliseconds))
        }
        _ => None,
    };
    timestamp.into_iter().chain(parked_at).min()
}

/// The kind of the command. A message that is no valid command is sent as a save, so that the worker reads it
/// and parks it again.
pub(super) fn kind(properties: &BasicProperties) -> Kind {
    let envelope = Envelope::read(properties);
    envelope.check().map_or(Kind::Save, |(kind, _)| kind)
}

/// The properties as the publisher set them, as far as the parked copy has them.
pub(super) fn original_properties(properties: &BasicProperties) -> BasicProperties {
    let added = [
        parked::REASON,
        parked::FIELD,
        parked::PARKED_AT,
        parked::BODY_BYTES,
        parked::USER_ID,
        "x-delivery-count",
    ];
    let mut headers = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        if !added.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
    properties.clone().with_headers(headers)
}

/// The command's id.
pub(super) fn id(properties: &BasicProperties) -> Option<&str> {
    Some(properties.message_id().as_ref()?.as_str())
}

/// The text of a header.
pub(super) fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::ShortString;
    use proto::{CommandError, CommandId};

    use super::*;

    fn envelope(kind: Kind) -> Result<Envelope, String> {
        let id = CommandId::new("an id").map_err(|error| error.message)?;
        Ok(Envelope {
            timestamp: None,
            ..Envelope::of(kind, id)
        })
    }

    fn parked_at(seconds: i64) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(
            parked::PARKED_AT.into(),
            AMQPValue::LongLongInt(seconds * 1000),
        );
        BasicProperties::default().with_headers(headers)
    }

    #[test]
    fn a_parked_copy_is_sent_without_the_headers_that_parking_added() -> Result<(), String> {
        let envelope = Envelope {
            traceparent: Some("00-a-b-01".to_owned()),
            ..envelope(Kind::Delete)?
        };
        let copy = parked::properties(&envelope, &CommandError::forbidden(), 10);
        assert_eq!(header(&copy, parked::REASON).as_deref(), Some("FORBIDDEN"));

        let original = original_properties(&copy);

        assert_eq!(id(&original), Some("an id"));
        assert_eq!(kind(&original), Kind::Delete);
        let headers = original.headers().clone().unwrap_or_default();
        let names: Vec<&str> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["traceparent"]);
        Ok(())
    }

    #[test]
    fn the_time_of_publishing_is_the_earlier_one_of_timestamp_and_parking() -> Result<(), String> {
        let without = envelope(Kind::Save)?;
        let with = Envelope {
            timestamp: Some(50),
            ..without.clone()
        };
        let seconds = |properties: &BasicProperties, envelope: &Envelope| {
            published(properties, envelope).map(OffsetDateTime::unix_timestamp)
        };

        assert_eq!(seconds(&parked_at(40), &with), Some(40));
        assert_eq!(seconds(&parked_at(60), &with), Some(50));
        assert_eq!(seconds(&parked_at(60), &without), Some(60));
        assert_eq!(seconds(&BasicProperties::default(), &with), Some(50));
        assert_eq!(seconds(&BasicProperties::default(), &without), None);
        Ok(())
    }

    #[test]
    fn a_message_that_is_no_command_is_sent_as_a_save() {
        assert_eq!(kind(&BasicProperties::default()), Kind::Save);
        assert_eq!(id(&BasicProperties::default()), None);
    }
}
