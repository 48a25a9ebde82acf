//! Computes the size of the frame with a message's properties. RabbitMQ accepts the properties in one frame
//! only. If that frame is larger than the negotiated size, RabbitMQ closes the connection, and with it
//! the requests of all clients fail.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

/// Frame header and end; class, weight, body size and flags.
const FIXED_BYTES: usize = 7 + 1 + 2 + 2 + 8 + 2;
const TIMESTAMP_BYTES: usize = 8;

/// The size of the content header frame. `None` if a header has a type that this gateway does not use.
pub(crate) fn content_header_bytes(properties: &BasicProperties) -> Option<usize> {
    let texts = [
        properties.content_type(),
        properties.content_encoding(),
        properties.correlation_id(),
        properties.reply_to(),
        properties.expiration(),
        properties.message_id(),
        properties.kind(),
        properties.user_id(),
        properties.app_id(),
        properties.cluster_id(),
    ];
    let mut bytes = FIXED_BYTES;
    bytes += texts.into_iter().flatten().map(short).sum::<usize>();
    let numbers = [properties.delivery_mode(), properties.priority()];
    bytes += numbers.into_iter().flatten().count();
    bytes += properties.timestamp().map_or(0, |_| TIMESTAMP_BYTES);
    Some(bytes + properties.headers().as_ref().map_or(Some(0), table)?)
}

fn table(table: &FieldTable) -> Option<usize> {
    let fields = table.inner().iter();
    fields
        .map(|(key, value)| Some(short(key) + self::value(value)?))
        .try_fold(4, |sum, field| Some(sum + field?))
}

fn value(value: &AMQPValue) -> Option<usize> {
    let content = match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => short(text),
        AMQPValue::Boolean(_) => 1,
        _ => return None,
    };
    Some(1 + content)
}

/// One byte with the length, and the text.
fn short(text: &ShortString) -> usize {
    1 + text.as_str().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_header(value: AMQPValue) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert("key".into(), value);
        BasicProperties::default().with_headers(headers)
    }

    /// The expected sizes follow from the specification of AMQP 0-9-1.
    #[test]
    fn every_part_of_a_frame_is_counted() {
        let text = AMQPValue::LongString("12345".into());
        for (expected, properties) in [
            (22, BasicProperties::default()),
            (
                22 + 1 + 4,
                BasicProperties::default().with_type("type".into()),
            ),
            (
                22 + 1 + 8,
                BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_timestamp(7),
            ),
            (22 + 4 + (1 + 3) + (1 + 4 + 5), with_header(text)),
            (
                22 + 4 + (1 + 3) + (1 + 1),
                with_header(AMQPValue::Boolean(true)),
            ),
        ] {
            assert_eq!(
                content_header_bytes(&properties),
                Some(expected),
                "{properties:?}"
            );
        }
    }

    #[test]
    fn a_header_of_an_unknown_type_has_no_size() {
        assert_eq!(content_header_bytes(&with_header(AMQPValue::Void)), None);
    }
}
