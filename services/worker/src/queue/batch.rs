//! A batch of commands, before and after `process`.

use std::time::{Duration, Instant};

use runtime::{logs::milliseconds, traces::Traces};
use tokio_util::sync::CancellationToken;

use super::incoming::Incoming;
use crate::{
    batch_trace::{BatchTrace, Statement},
    change::Change,
    metrics,
    process::{self, Hold, Outage, OutcomeKind, Progress},
    store::Writer,
};

/// Commands that are processed together, in the order of delivery.
pub(super) struct Batch {
    pub commands: Vec<Incoming>,
    pub started: Instant,
    /// `None` if no trace of a command is recorded.
    pub trace: Option<BatchTrace>,
}

/// A batch with the results of its commands.
pub(super) struct ProcessedBatch {
    pub batch: Batch,
    /// One result for each command, in the order of the commands.
    pub progress: Result<Vec<Progress>, Outage>,
    /// The statements that were run for the batch.
    pub statements: Vec<Statement>,
}

impl Batch {
    /// A batch that starts now.
    pub fn new(commands: Vec<Incoming>, traces: &Traces) -> Self {
        let trace = BatchTrace::start(traces, commands.iter().map(|command| &command.envelope));
        Self {
            commands,
            started: Instant::now(),
            trace,
        }
    }

    /// When the oldest command was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        self.commands.iter().map(Incoming::published).min()
    }

    /// Applies the commands.
    pub async fn process(
        self,
        writer: &mut Writer,
        hold: Hold,
        stop: &CancellationToken,
    ) -> ProcessedBatch {
        let changes: Vec<&Change> = self.commands.iter().map(|it| &it.change).collect();
        let progress = process::process(writer, &changes, hold, stop).await;
        ProcessedBatch {
            statements: writer.take_statements(),
            progress,
            batch: self,
        }
    }
}

impl ProcessedBatch {
    /// Whether none of the commands is a redelivery.
    pub fn is_new(&self) -> bool {
        self.batch
            .commands
            .iter()
            .all(|command| !command.redelivered)
    }
}

/// The number of commands of a batch for each kind of outcome.
#[derive(Debug, Default)]
pub(super) struct Summary {
    counts: [u64; OutcomeKind::ALL.len()],
    redelivered: usize,
}

impl Summary {
    /// Counts one command.
    pub fn add(&mut self, kind: OutcomeKind, redelivered: bool) {
        self.counts[kind as usize] += 1;
        self.redelivered += usize::from(redelivered);
    }

    fn commands(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Writes the batch's log line, and its metrics.
    pub fn report(&self, took: Duration, statements: &[Statement]) {
        let [saved, deleted, repeated, conflicts, refused] = self.counts;
        let commands = self.commands();
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
            metrics::processed(kind.as_str(), self.counts[kind as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_each_kind_of_outcome_and_the_redeliveries() {
        let mut summary = Summary::default();
        assert_eq!((summary.commands(), summary.redelivered), (0, 0));

        for (kind, redelivered) in [
            (OutcomeKind::Saved, false),
            (OutcomeKind::Saved, true),
            (OutcomeKind::Repeated, true),
            (OutcomeKind::Refused, false),
        ] {
            summary.add(kind, redelivered);
        }

        assert_eq!(summary.counts, [2, 0, 1, 0, 1]);
        assert_eq!((summary.commands(), summary.redelivered), (4, 2));
    }
}
