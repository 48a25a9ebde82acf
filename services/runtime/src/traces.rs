//! Spans, and their export by OTLP.
//!
//! Without a collector no span is recorded. Trace ids are still generated and passed on, so that a log
//! line, an error and the ledger show the same id.

mod propagation;

use std::{env, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use opentelemetry::{
    Context,
    trace::{
        Link, Span as _, Status, TraceContextExt as _, TraceFlags, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator as _, RandomIdGenerator, SdkTracer, SdkTracerProvider, Span as SdkSpan},
};

pub use self::propagation::{MAX_TRACESTATE_BYTES, parent, trace_id, traceparent, tracestate};
pub use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanContext, SpanKind},
};

/// Each of these variables turns the export on. The exporter reads the other variables of OpenTelemetry's
/// specification, too: headers, timeout, sampler, batches.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// The most links of a span. The span of a batch has a link to each of its commands.
const MAX_LINKS: u32 = 512;

/// Creates spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces(Option<Arc<Export>>);

#[derive(Debug)]
struct Export {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts the export if an endpoint is configured.
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
            .with_max_links_per_span(MAX_LINKS)
            .with_batch_exporter(exporter.context("the export of traces")?)
            .build();
        Ok(Self(Some(Arc::new(Export {
            tracer: provider.tracer(service),
            provider,
        }))))
    }

    /// Whether spans are exported. If not, their attributes need not be computed.
    #[must_use]
    pub fn are_collected(&self) -> bool {
        self.0.is_some()
    }

    /// Starts a span below `parent`, or in a new trace if `parent` is not valid.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind, parent: &SpanContext) -> Span {
        match &self.0 {
            Some(export) => export.build(SpanBuilder::from_name(name).with_kind(kind), parent),
            None => Span::unrecorded(parent),
        }
    }

    /// As [`Traces::span`], for a span with a start time or links of its own.
    #[must_use]
    pub fn build(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        match &self.0 {
            Some(export) => export.build(span, parent),
            None => Span::unrecorded(parent),
        }
    }

    /// Exports the remaining spans. Blocks the thread for seconds if the collector doesn't answer.
    pub fn stop(&self) {
        let result = self.0.as_ref().map(|export| export.provider.shutdown());
        if let Some(Err(error)) = result {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl Export {
    fn build(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        // The default sampler takes the decision of the parent, and an invalid parent counts as not
        // sampled. So an invalid parent is left out.
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

/// One span. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    context: SpanContext,
    /// `None` if spans are not exported.
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

    /// Its ids, flags and state, for what it causes.
    #[must_use]
    pub fn context(&self) -> &SpanContext {
        &self.context
    }

    /// Adds attributes. They are computed only if the span is recorded.
    pub fn set(&mut self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        if let Some(span) = self.recorded.as_mut().filter(|span| span.is_recording()) {
            span.set_attributes(attributes());
        }
    }

    /// Sets the status to an error.
    pub fn fail(&mut self, why: &'static str) {
        if let Some(span) = &mut self.recorded {
            span.set_status(Status::error(why));
        }
    }

    /// Ends the span at an earlier time than now.
    pub fn end_at(mut self, time: SystemTime) {
        if let Some(span) = &mut self.recorded {
            span.end_with_timestamp(time);
        }
    }
}

/// The parent of spans that code without access to the parent itself starts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TraceContext {
    traces: Traces,
    context: SpanContext,
}

impl TraceContext {
    /// New spans get this one as their parent.
    #[must_use]
    pub fn below(traces: Traces, span: &Span) -> Self {
        Self {
            traces,
            context: span.context().clone(),
        }
    }

    /// Starts a span. It ends when it is dropped.
    #[must_use]
    pub fn span(&self, name: &'static str, kind: SpanKind) -> Span {
        self.traces.span(name, kind, &self.context)
    }
}

/// A link to a span of another trace.
#[must_use]
pub fn link(context: &SpanContext) -> Link {
    Link::with_context(context.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_are_passed_on_without_a_collector() -> anyhow::Result<()> {
        let traces = Traces::start("test", "0")?;
        let context = parent(
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            None,
        );

        let child = traces.span("child", SpanKind::Server, &context);
        let root = traces.span("root", SpanKind::Server, &SpanContext::NONE);

        assert_eq!(child.context().trace_id(), context.trace_id());
        assert_ne!(child.context().span_id(), context.span_id());
        assert!(root.context().is_valid());
        assert!(child.recorded.is_none() && root.recorded.is_none());
        Ok(())
    }
}
