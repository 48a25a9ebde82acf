//! Spans: W3C trace context in and out, and OTLP to whoever collects them.
//!
//! Without a collector no span is recorded; ids are still given out and passed on, so that a log
//! line, an error and the ledger name the same trace.

use std::{env, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{
        Link, Span as _, Status, TraceContextExt as _, TraceFlags, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{IdGenerator as _, RandomIdGenerator, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

/// A longer `tracestate` is left out. W3C Trace Context asks to pass on at least 512 characters.
pub const MAX_TRACESTATE_BYTES: usize = 512;

pub use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanContext, SpanKind},
};

/// Any of them switches the export on. The other variables of OpenTelemetry's specification are
/// read, too: headers, timeout, sampler, batches.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// As many as a batch has commands.
const MOST_LINKS: u32 = 512;

/// Makes spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces(Option<Arc<Export>>);

#[derive(Debug)]
struct Export {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts the export, where an endpoint is configured.
    ///
    /// # Errors
    /// The configuration of the export is malformed.
    pub fn start(service: &'static str, version: &'static str) -> anyhow::Result<Self> {
        let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(is_set) {
            return Ok(Self(None));
        }
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let exporter = SpanExporter::builder().with_http().build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_max_links_per_span(MOST_LINKS)
            .with_batch_exporter(exporter.context("the export of traces")?)
            .build();
        Ok(Self(Some(Arc::new(Export {
            tracer: provider.tracer(service),
            provider,
        }))))
    }

    /// Whether anybody collects spans.
    #[must_use]
    pub fn are_collected(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span in the trace of another, or in a new trace where that is not a valid one.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: &SpanContext) -> Span {
        match &self.0 {
            Some(export) => export.build(SpanBuilder::from_name(name).with_kind(kind), parent),
            None => Span::unrecorded(parent),
        }
    }

    /// A span that says when it began, or which others it has to do with.
    #[must_use]
    pub fn build(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        match &self.0 {
            Some(export) => export.build(span, parent),
            None => Span::unrecorded(parent),
        }
    }

    /// Writes out what was not exported yet. Blocks for seconds where nobody takes it.
    pub fn stop(&self) {
        let ended = self.0.as_ref().map(|export| export.provider.shutdown());
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl Export {
    fn build(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        // An invalid parent would still be asked whether it is recorded, and say no.
        let context = if parent.is_valid() {
            Context::new().with_remote_span_context(parent.clone())
        } else {
            Context::new()
        };
        let recorded = self.tracer.build_with_context(span, &context);
        Span {
            context: recorded.span_context().clone(),
            recorded: Some(recorded),
        }
    }
}

/// Something that takes time, in a trace. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: SpanContext,
    /// None where nobody collects spans: then it is two numbers and nothing more.
    recorded: Option<SdkSpan>,
}

impl Span {
    fn unrecorded(parent: &SpanContext) -> Self {
        let ids = RandomIdGenerator::default();
        let trace = if parent.is_valid() {
            parent.trace_id()
        } else {
            ids.new_trace_id()
        };
        let state = parent.trace_state().clone();
        let context = SpanContext::new(
            trace,
            ids.new_span_id(),
            TraceFlags::NOT_SAMPLED,
            false,
            state,
        );
        Self {
            context,
            recorded: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// Says more about it, where it is recorded.
    pub fn set(&mut self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        if let Some(span) = self.recorded.as_mut().filter(|span| span.is_recording()) {
            span.set_attributes(attributes());
        }
    }

    /// Says that it failed.
    pub fn fail(&mut self, why: &'static str) {
        if let Some(span) = &mut self.recorded {
            span.set_status(Status::error(why));
        }
    }

    /// Says that it ended before now.
    pub fn end_at(mut self, time: SystemTime) {
        if let Some(span) = &mut self.recorded {
            span.end_with_timestamp(time);
        }
    }
}

/// A place in a trace, for what happens below it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TraceContext {
    traces: Traces,
    context: SpanContext,
}

impl TraceContext {
    /// Below a span.
    #[must_use]
    pub fn below(traces: Traces, span: &Span) -> Self {
        Self {
            traces,
            context: span.context().clone(),
        }
    }

    /// Begins a span here. It ends when it is dropped.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind) -> Span {
        self.traces.span(name, kind, &self.context)
    }
}

/// Where a request or a message comes from, by its `traceparent` and `tracestate`. What can't be
/// read is as good as not there, and so is a `tracestate` that is too long: part of one would be
/// malformed.
#[must_use]
pub fn parent(traceparent: Option<&str>, tracestate: Option<&str>) -> SpanContext {
    let headers = Headers {
        traceparent,
        tracestate: tracestate.filter(|state| state.len() <= MAX_TRACESTATE_BYTES),
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    context.span().span_context().clone()
}

/// A span as the `traceparent` of what it leads to.
#[must_use]
pub fn traceparent(context: &SpanContext) -> String {
    let (trace, span) = (context.trace_id(), context.span_id());
    format!("00-{trace}-{span}-{:02x}", context.trace_flags().to_u8())
}

/// The trace that a `traceparent` names, for a line of the log.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<String> {
    let context = parent(traceparent, None);
    context.is_valid().then(|| context.trace_id().to_string())
}

/// The `tracestate` beside it, where there is any.
#[must_use]
pub fn tracestate(context: &SpanContext) -> Option<String> {
    Some(context.trace_state().header()).filter(|header| !header.is_empty())
}

/// A link to a span of another trace.
#[must_use]
pub fn link(context: &SpanContext) -> Link {
    Link::with_context(context.clone())
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
    fn a_context_is_read_as_it_is_written() {
        let context = parent(Some(PARENT), Some("vendor=1"));

        assert_eq!(traceparent(&context), PARENT);
        assert_eq!(tracestate(&context).as_deref(), Some("vendor=1"));
        assert!(!parent(Some("00-0-0-01"), None).is_valid());
        assert!(!parent(None, Some("vendor=1")).is_valid());
    }

    #[test]
    fn a_tracestate_that_is_too_long_is_dropped_and_the_trace_goes_on() {
        let state = |bytes: usize| format!("{}={}", "a".repeat(256), "b".repeat(bytes - 257));
        let (fits, too_long) = (state(512), state(513));

        let whole = parent(Some(PARENT), Some(&fits));
        let cut = parent(Some(PARENT), Some(&too_long));

        assert_eq!(tracestate(&whole), Some(fits));
        assert_eq!(tracestate(&cut), None);
        assert_eq!(traceparent(&cut), PARENT);
    }

    #[test]
    fn without_a_collector_a_trace_has_its_id_all_the_same() -> anyhow::Result<()> {
        let traces = Traces::start("test", "0")?;
        let context = parent(Some(PARENT), None);

        let joined = traces.span("joined", SpanKind::Server, &context);
        let begun = traces.span("begun", SpanKind::Server, &SpanContext::NONE);

        assert_eq!(joined.context().trace_id(), context.trace_id());
        assert_ne!(joined.context().span_id(), context.span_id());
        assert!(begun.context().is_valid());
        assert!(joined.recorded.is_none() && begun.recorded.is_none());
        Ok(())
    }
}
