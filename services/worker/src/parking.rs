//! The copy of a message that nobody can apply, as it is kept in `.parked`.
//!
//! Making it must not fail: whatever is in the message, it is parked, if need be without its body.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lapin::BasicProperties;
use proto::{Envelope, Fault, parked, topology::PARKED_BODY_BYTES};

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
        let details = "x".repeat(60 * 1024);
        // Each quotation mark takes two bytes once it is written out again.
        let body = |text: &str| format!(r#"{{"envId":"1","clientSecret":"{text}"}}"#);
        let small = ParkedCopy::of(
            &Envelope::default(),
            &Fault::forbidden(),
            body(&details).as_bytes(),
        );

        assert!(!small.body.is_empty());
        assert!(small.may_be_left_out);
        assert!(small.body.len() <= PARKED_BODY_BYTES);
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
