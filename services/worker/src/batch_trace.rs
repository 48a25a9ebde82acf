//! The spans of a batch, created after the batch was processed.
//!
//! Each batch has a trace of its own, with links to the traces of its commands. The trace of each command gets
//! a span for its processing, with the batch's statements as children. So the trace of a request contains the
//! statement that stored it, and the trace of a slow statement links to the requests that waited for it.

use std::time::SystemTime;

use proto::Envelope;
use runtime::traces::{self, KeyValue, SpanBuilder, SpanContext, SpanKind, Traces};

/// A statement that was run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub name: &'static str,
    pub started: SystemTime,
    pub ended: SystemTime,
    pub ok: bool,
}

/// The commands of a batch whose traces are recorded.
pub(crate) struct BatchTrace {
    started: SystemTime,
    commands: Vec<TracedCommand>,
}

/// A command whose trace is recorded.
struct TracedCommand {
    /// Position in the batch.
    index: usize,
    context: SpanContext,
    id: Option<String>,
}

impl BatchTrace {
    /// Starts the trace of a batch now. `None` if no trace of a command is recorded.
    pub fn start<'a>(
        traces: &Traces,
        envelopes: impl Iterator<Item = &'a Envelope>,
    ) -> Option<Self> {
        if !traces.are_collected() {
            return None;
        }
        let commands: Vec<_> = envelopes
            .enumerate()
            .filter_map(|(index, envelope)| {
                let traceparent = envelope.traceparent.as_deref()?;
                let context = traces::parent(Some(traceparent), envelope.tracestate.as_deref());
                let id = envelope.command_id.clone().map(String::from);
                context
                    .is_sampled()
                    .then_some(TracedCommand { index, context, id })
            })
            .collect();
        (!commands.is_empty()).then(|| Self {
            started: SystemTime::now(),
            commands,
        })
    }

    /// Keeps only some of the commands, by their positions in the batch. `None` if none of them is recorded.
    pub fn only(mut self, is_wanted: impl Fn(usize) -> bool) -> Option<Self> {
        self.commands.retain(|command| is_wanted(command.index));
        (!self.commands.is_empty()).then_some(self)
    }

    /// Ends the batch now, and exports its spans.
    pub fn end(self, traces: &Traces, statements: &[Statement]) {
        let Self { started, commands } = self;
        let links = commands
            .iter()
            .map(|command| traces::link(&command.context));
        let count = i64::try_from(commands.len()).unwrap_or(i64::MAX);
        let batch = span("process a batch", SpanKind::Consumer, started)
            .with_links(links.collect())
            .with_attributes([KeyValue::new("messaging.batch.message_count", count)]);
        // A new trace, because a batch has no single parent.
        let batch = traces.build(batch, &SpanContext::NONE);
        add_statements(traces, batch.context(), statements);
        for TracedCommand { context, id, .. } in commands {
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
            add_statements(traces, process.context(), statements);
        }
    }
}

/// Adds a span for each statement, below `parent`.
fn add_statements(traces: &Traces, parent: &SpanContext, statements: &[Statement]) {
    for statement in statements {
        let span = span(statement.name, SpanKind::Client, statement.started)
            .with_attributes([KeyValue::new("db.system.name", "postgresql")]);
        let mut span = traces.build(span, parent);
        if !statement.ok {
            span.fail("the statement failed");
        }
        span.end_at(statement.ended);
    }
}

fn span(name: &'static str, kind: SpanKind, started: SystemTime) -> SpanBuilder {
    SpanBuilder::from_name(name)
        .with_kind(kind)
        .with_start_time(started)
}
