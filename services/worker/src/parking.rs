//! The copy of a message that nobody can apply, as it is kept in `.parked`.
//!
//! Making it must not fail: whatever is in the message, it is parked, if need be without its body.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lapin::BasicProperties;
use proto::{
    Envelope, Fault,
    amqp::{parked, topology::PARKED_BODY_BYTES},
};

use crate::failpoint;

/// What is published to `.parked`.
#[derive(Debug, Clone)]
pub(crate) struct ParkedCopy {
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    /// Whether this copy may be left out where `.parked` is full: its publisher was told all that is
    /// wrong with it. A command that is valid waits.
    pub may_be_left_out: bool,
}

impl ParkedCopy {
    /// The redacted body, and what is known of the message and the reason.
    pub fn of(envelope: &Envelope, fault: &Fault, body: &[u8]) -> Self {
        let redacted = contained("redacting a message", || {
            failpoint::redact(envelope);
            parked::redacted(body)
        });
        let properties = contained("describing a parked message", || {
            parked::properties(envelope, fault, body.len())
        });
        Self {
            body: redacted
                .filter(|body| body.len() <= PARKED_BODY_BYTES)
                .unwrap_or_default(),
            properties: properties
                .unwrap_or_else(|| parked::properties(&Envelope::default(), fault, body.len())),
            may_be_left_out: fault.code != proto::ErrorCode::InternalServerError,
        }
    }
}

/// Runs something that reads foreign bytes. None: it panicked, which its caller has to make up for.
pub(crate) fn contained<T>(what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(run));
    if result.is_err() {
        tracing::error!("{what} panicked; this is a fault of the worker");
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_too_large_is_parked_without_it() {
        // Each backslash takes two bytes once the details are written out as a text of JSON.
        let copy = |backslashes: usize| {
            let padding = "\\".repeat(backslashes);
            let details = format!(r#"{{"baseURL":"https://base.url","n":"{padding}"}}"#);
            let body = serde_json::json!({
                "envId": "e".repeat(255),
                "processId": "p".repeat(255),
                "oauthConnectorDetails": details,
            });
            let body = body.to_string();
            ParkedCopy::of(&Envelope::default(), &Fault::forbidden(), body.as_bytes())
        };

        let (small, large) = (copy(60_000), copy(65_400));

        assert!(small.body.len() > 120_000 && small.body.len() <= PARKED_BODY_BYTES);
        assert!(large.body.is_empty());
    }

    #[test]
    fn a_valid_command_is_never_left_out() {
        let of = |fault: &Fault| ParkedCopy::of(&Envelope::default(), fault, b"{}");

        assert!(of(&Fault::forbidden()).may_be_left_out);
        assert!(!of(&Fault::internal()).may_be_left_out);
    }

    #[test]
    fn a_panic_is_contained() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let none: Option<()> = contained("a test", || panic!("as the test says"));
        std::panic::set_hook(hook);

        assert!(none.is_none());
    }
}
