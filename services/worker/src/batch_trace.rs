//! The spans of a batch, made when it is decided.
//!
//! A batch is a trace of its own, linked to each of its commands; and each command's own trace gets
//! what happened to it: that it was processed, and the statement that stored it. A trace that is
//! followed from a request ends in its answer, and one that is followed from a slow statement shows
//! who waited for it.

use std::time::SystemTime;

use proto::Envelope;
use runtime::traces::{self, KeyValue, SpanBuilder, SpanContext, SpanKind, Traces};

/// A statement, as it was run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub name: &'static str,
    pub started: SystemTime,
    pub ended: SystemTime,
    pub ok: bool,
}

/// The commands of a batch whose publishers record a trace, each with its outcome.
pub(crate) struct BatchTrace {
    started: SystemTime,
    commands: Vec<Recorded>,
}

/// A command whose publisher records a trace.
struct Recorded {
    /// Its place in the batch.
    place: usize,
    context: SpanContext,
    id: Option<String>,
}

impl BatchTrace {
    /// None where nobody records.
    pub fn begin<'a>(
        traces: &Traces,
        envelopes: impl Iterator<Item = &'a Envelope>,
    ) -> Option<Self> {
        if !traces.are_collected() {
            return None;
        }
        let commands: Vec<_> = envelopes
            .enumerate()
            .filter_map(|(place, envelope)| {
                let traceparent = envelope.traceparent.as_deref()?;
                let context = traces::parent(Some(traceparent), envelope.tracestate.as_deref());
                let id = envelope.command_id.clone().map(String::from);
                context
                    .is_sampled()
                    .then_some(Recorded { place, context, id })
            })
            .collect();
        (!commands.is_empty()).then(|| Self {
            started: SystemTime::now(),
            commands,
        })
    }

    /// Those of some commands only, by their places in the batch. None where nobody records one of them.
    pub fn only(mut self, is_wanted: impl Fn(usize) -> bool) -> Option<Self> {
        self.commands.retain(|command| is_wanted(command.place));
        (!self.commands.is_empty()).then_some(self)
    }

    /// Hands over all spans.
    pub fn end(self, traces: &Traces, statements: &[Statement]) {
        let Self { started, commands } = self;
        let links = commands
            .iter()
            .map(|command| traces::link(&command.context));
        let count = i64::try_from(commands.len()).unwrap_or(i64::MAX);
        let batch = span("process a batch", SpanKind::Consumer, started)
            .with_links(links.collect())
            .with_attributes([KeyValue::new("messaging.batch.message_count", count)]);
        // A new trace: a batch has no one parent.
        let batch = traces.build(batch, &SpanContext::NONE);
        below(traces, batch.context(), statements);
        for Recorded { context, id, .. } in commands {
            let mut process = span(
                "process ipack.connector-details.v1",
                SpanKind::Consumer,
                started,
            )
            .with_links(vec![traces::link(batch.context())]);
            if let Some(id) = id {
                process = process.with_attributes([KeyValue::new("messaging.message.id", id)]);
            }
            let process = traces.build(process, &context);
            below(traces, process.context(), statements);
        }
    }
}

fn below(traces: &Traces, parent: &SpanContext, statements: &[Statement]) {
    for statement in statements {
        let span = span(statement.name, SpanKind::Client, statement.started)
            .with_attributes([KeyValue::new("db.system.name", "postgresql")]);
        let mut span = traces.build(span, parent);
        if !statement.ok {
            span.fail("the statement had no effect");
        }
        span.end_at(statement.ended);
    }
}

fn span(name: &'static str, kind: SpanKind, started: SystemTime) -> SpanBuilder {
    SpanBuilder::from_name(name)
        .with_kind(kind)
        .with_start_time(started)
}
