//! Spans: W3C trace context in and out, and OTLP to whoever collects them.
//!
//! Without a collector no span is recorded; ids are still given out and passed on, so that a log
//! line, an error and the ledger name the same trace.

use std::{borrow::Cow, env};

use anyhow::Context as _;
use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Link, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};

pub use opentelemetry::{
    KeyValue,
    trace::{Span as SpanExt, SpanBuilder, SpanContext, SpanKind, Status},
};
pub use opentelemetry_sdk::trace::Span;

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
pub struct Traces {
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
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", version))
            .build();
        let builder = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_max_links_per_span(MOST_LINKS);
        let provider = if ENDPOINTS.iter().any(is_set) {
            let exporter = SpanExporter::builder().with_http().build();
            builder.with_batch_exporter(exporter.context("the export of traces")?)
        } else {
            builder.with_sampler(Sampler::AlwaysOff)
        }
        .build();
        Ok(Self {
            tracer: provider.tracer(service),
            provider,
        })
    }

    /// Begins a span in the trace of another, or in a new trace where that is not a valid one.
    pub fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: &SpanContext,
    ) -> Span {
        self.build(self.tracer.span_builder(name).with_kind(kind), parent)
    }

    /// A span that says when it began, or which others it has to do with.
    #[must_use]
    pub fn build(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        // An invalid parent would still be asked whether it is recorded, and say no.
        let context = if parent.is_valid() {
            Context::new().with_remote_span_context(parent.clone())
        } else {
            Context::new()
        };
        self.tracer.build_with_context(span, &context)
    }

    /// Writes out what was not exported yet. Blocks for seconds where nobody takes it.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// A place in a trace, for what happens below it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    traces: Traces,
    context: SpanContext,
}

impl Place {
    /// Below a span.
    #[must_use]
    pub fn below(traces: Traces, span: &Span) -> Self {
        Self {
            traces,
            context: span.span_context().clone(),
        }
    }

    /// Begins a span here. It ends when it is dropped.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind) -> Span {
        self.traces.span(name, kind, &self.context)
    }
}

/// Where a request or a message comes from, by its `traceparent` and `tracestate`. What can't be
/// read is as good as not there.
#[must_use]
pub fn parent(traceparent: Option<&str>, tracestate: Option<&str>) -> SpanContext {
    let headers = Headers {
        traceparent,
        tracestate,
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
    fn without_a_collector_a_trace_has_its_id_all_the_same() -> anyhow::Result<()> {
        let traces = Traces::start("test", "0")?;
        let context = parent(Some(PARENT), None);

        let joined = traces.span("joined", SpanKind::Server, &context);
        let begun = traces.span("begun", SpanKind::Server, &SpanContext::NONE);

        assert_eq!(joined.span_context().trace_id(), context.trace_id());
        assert_ne!(joined.span_context().span_id(), context.span_id());
        assert!(begun.span_context().is_valid());
        assert!(!joined.is_recording() && !begun.is_recording());
        Ok(())
    }
}
