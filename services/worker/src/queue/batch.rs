//! A batch of commands on its way through `process`.

use std::time::{Duration, Instant};

use runtime::{logs::milliseconds, traces::Traces};
use tokio_util::sync::CancellationToken;

use super::incoming::Incoming;
use crate::{
    batch_trace::{BatchTrace, Statement},
    change::Change,
    metrics,
    process::{self, Outage, OutcomeKind, Progress},
    store::Writers,
};

/// Commands that are processed together.
pub(super) struct Batch {
    pub commands: Vec<Incoming>,
    pub started: Instant,
    /// `None` where no publisher records a trace.
    pub trace: Option<BatchTrace>,
}

/// A batch with what became of its commands.
pub(super) struct ProcessedBatch {
    pub batch: Batch,
    /// In the order of the commands. An error: the database could not take them.
    pub progress: Result<Vec<Progress>, Outage>,
    /// The statements that were run for it.
    pub statements: Vec<Statement>,
}

impl Batch {
    /// A batch that begins now.
    pub fn new(commands: Vec<Incoming>, traces: &Traces) -> Self {
        let trace = BatchTrace::begin(traces, commands.iter().map(|command| &command.envelope));
        Self {
            commands,
            started: Instant::now(),
            trace,
        }
    }

    /// When its oldest command was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        self.commands.iter().map(Incoming::published).min()
    }

    /// Has the commands decided.
    pub async fn process(self, writers: &mut Writers, stop: &CancellationToken) -> ProcessedBatch {
        let changes: Vec<&Change> = self.commands.iter().map(|it| &it.change).collect();
        let progress = process::process(writers, &changes, stop).await;
        ProcessedBatch {
            statements: writers.take_statements(),
            progress,
            batch: self,
        }
    }
}

impl ProcessedBatch {
    /// Whether none of its commands was delivered before.
    pub fn is_new(&self) -> bool {
        self.batch
            .commands
            .iter()
            .all(|command| !command.redelivered)
    }
}

/// How many commands of a batch had which outcome.
#[derive(Default)]
pub(super) struct Summary {
    counts: [u64; OutcomeKind::ALL.len()],
    redelivered: usize,
}

impl Summary {
    pub fn add(&mut self, kind: OutcomeKind, redelivered: bool) {
        self.counts[kind as usize] += 1;
        self.redelivered += usize::from(redelivered);
    }

    /// Writes one log line for the batch, and its metrics.
    pub fn report(&self, took: Duration, statements: &[Statement]) {
        let [saved, deleted, repeated, conflicts, refused] = self.counts;
        let commands = self.counts.iter().sum();
        tracing::info!(
            commands,
            saved,
            deleted,
            repeated,
            conflicts,
            refused,
            redelivered = self.redelivered,
            statements = statements.len(),
            duration_ms = milliseconds(took),
            "a batch was decided"
        );
        metrics::batch(commands, self.redelivered, took);
        for kind in OutcomeKind::ALL {
            metrics::decided(kind.as_str(), self.counts[kind as usize]);
        }
    }
}
