//! Reads and writes W3C trace context: `traceparent` and `tracestate`.

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// A longer `tracestate` is dropped. W3C Trace Context asks to pass on at least 512 characters.
pub const MAX_TRACESTATE_BYTES: usize = 512;

/// The span that caused a request or a message. It is not valid if `traceparent` is missing or malformed.
/// A `tracestate` that is too long is dropped as a whole, since a part of it would be malformed.
#[must_use]
pub fn parent(traceparent: Option<&str>, tracestate: Option<&str>) -> SpanContext {
    let headers = Headers {
        traceparent,
        tracestate: tracestate.filter(|state| state.len() <= MAX_TRACESTATE_BYTES),
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    context.span().span_context().clone()
}

/// The `traceparent` of what this span causes.
#[must_use]
pub fn traceparent(context: &SpanContext) -> String {
    let (trace, span) = (context.trace_id(), context.span_id());
    format!("00-{trace}-{span}-{:02x}", context.trace_flags().to_u8())
}

/// The trace id in a `traceparent`, for a log line. `None` if it is missing or malformed.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let context = parent(traceparent, None);
    context.is_valid().then(|| context.trace_id().to_string())
}

/// The `tracestate` of what this span causes. `None` if it is empty.
#[must_use]
pub fn tracestate(context: &SpanContext) -> Option<String> {
    Some(context.trace_state().header()).filter(|header| !header.is_empty())
}

struct Headers<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_trace_context_is_written_as_it_was_read() {
        let context = parent(Some(PARENT), Some("vendor=1"));

        assert_eq!(traceparent(&context), PARENT);
        assert_eq!(tracestate(&context).as_deref(), Some("vendor=1"));
        assert!(!parent(Some("00-0-0-01"), None).is_valid());
        assert!(!parent(None, Some("vendor=1")).is_valid());
    }

    #[test]
    fn a_tracestate_that_is_too_long_is_dropped_and_the_traceparent_is_kept() {
        let state = |bytes: usize| format!("{}={}", "a".repeat(256), "b".repeat(bytes - 257));
        let (fits, too_long) = (state(512), state(513));

        let kept = parent(Some(PARENT), Some(&fits));
        let dropped = parent(Some(PARENT), Some(&too_long));

        assert_eq!(tracestate(&kept), Some(fits));
        assert_eq!(tracestate(&dropped), None);
        assert_eq!(traceparent(&dropped), PARENT);
    }
}
