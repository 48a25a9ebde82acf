//! What is wrong with a message that the broker's connection could not read in full.

use lapin::BasicProperties;

use proto::CommandError;
use runtime::broker::guard::{UNREADABLE_BODY, UNREADABLE_PROPERTIES};

/// The fault of a message whose properties or body were left out; none where all of it is there.
#[must_use]
pub fn fault(properties: &BasicProperties) -> Option<CommandError> {
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
