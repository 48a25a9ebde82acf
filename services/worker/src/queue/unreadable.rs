//! The error of a message whose properties or body the connection's guard has left out.

use lapin::BasicProperties;

use proto::CommandError;
use runtime::broker::guard::{UNREADABLE_BODY, UNREADABLE_PROPERTIES};

/// The error of a message whose properties or body were left out. `None` if the message is complete.
#[must_use]
pub fn error(properties: &BasicProperties) -> Option<CommandError> {
    let headers = properties.headers().as_ref()?.inner();
    if headers.contains_key(UNREADABLE_PROPERTIES) {
        let message = "the message's properties can't be read: short strings and names of headers \
                       must be UTF-8, the properties at most 32 KiB, with at most 256 headers, \
                       nested at most 16 deep; nothing was changed.";
        return Some(CommandError::undecodable(Some("headers"), message));
    }
    if headers.contains_key(UNREADABLE_BODY) {
        let message = "the body must be at most 1 MiB; nothing was changed.";
        return Some(CommandError::undecodable(Some("body"), message));
    }
    None
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable};

    use super::*;

    fn field(header: &str) -> Option<String> {
        let mut headers = FieldTable::default();
        headers.insert(header.into(), AMQPValue::Boolean(true));
        error(&BasicProperties::default().with_headers(headers))?.field
    }

    #[test]
    fn the_error_names_the_part_that_was_left_out() {
        assert_eq!(field(UNREADABLE_PROPERTIES).as_deref(), Some("headers"));
        assert_eq!(field(UNREADABLE_BODY).as_deref(), Some("body"));
    }

    #[test]
    fn a_complete_message_has_no_error() {
        assert!(error(&BasicProperties::default()).is_none());
        assert_eq!(field("x-own"), None);
    }
}
