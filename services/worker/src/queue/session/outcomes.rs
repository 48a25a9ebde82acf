//! Handles a processed batch: sends replies, settles commands, and lets locked commands wait.

use std::time::Instant;

use tokio::task::yield_now;

use super::{Session, SessionError};
use crate::{
    metrics,
    process::{OutcomeKind, Progress},
    queue::{
        batch::{ProcessedBatch, Summary},
        incoming::Incoming,
    },
};

impl Session<'_> {
    /// Handles a processed batch. Its locked commands wait in `retries`, and so do the waiting commands that
    /// must not be applied before them.
    pub(super) async fn handle_batch(
        &mut self,
        processed: ProcessedBatch,
    ) -> Result<(), SessionError> {
        let locked = self.handle_outcomes(processed).await?;
        if !locked.is_empty() {
            Self::log_locked(locked.len());
            for incoming in locked {
                self.retries.push(incoming, true);
            }
            for incoming in std::mem::take(&mut self.waiting) {
                self.enqueue(incoming);
            }
        }
        self.current_oldest = None;
        self.update_oldest();
        self.extend_reserved();
        Ok(())
    }

    /// Handles an attempt of `retries`. Commands that no longer have to wait go back to the batcher.
    pub(super) async fn handle_attempt(
        &mut self,
        processed: ProcessedBatch,
    ) -> Result<(), SessionError> {
        let commands = processed.batch.commands.len();
        let locked = self.handle_outcomes(processed).await?;
        if locked.len() < commands {
            self.extend_reserved();
        }
        for incoming in self.retries.finish_attempt(locked) {
            let earlier = |other: &Incoming| other.order < incoming.order;
            let position = self.waiting.partition_point(earlier);
            self.waiting.insert(position, incoming);
        }
        self.update_oldest();
        Ok(())
    }

    /// Sends the replies, and parks the commands that no worker can apply. Returns the locked commands.
    async fn handle_outcomes(
        &mut self,
        processed: ProcessedBatch,
    ) -> Result<Vec<Incoming>, SessionError> {
        let ProcessedBatch {
            batch,
            progress,
            statements,
        } = processed;
        let mut summary = Summary::default();
        let mut has_outcome = vec![false; batch.commands.len()];
        let mut locked = Vec::new();
        for (index, (incoming, progress)) in batch.commands.into_iter().zip(progress?).enumerate() {
            match progress {
                Progress::Decided { outcome, kind } => {
                    self.context.publisher.reply(&incoming.envelope, outcome);
                    self.acks.settle(incoming.tag, Instant::now());
                    summary.add(kind, incoming.redelivered);
                }
                Progress::Refused(errors) => {
                    summary.add(OutcomeKind::Refused, incoming.redelivered);
                    self.refuse(incoming.refuse(errors));
                }
                Progress::Locked => {
                    locked.push(incoming);
                    continue;
                }
            }
            has_outcome[index] = true;
        }
        if !locked.is_empty() {
            metrics::database_retry();
        }
        if has_outcome.contains(&true) {
            // Let the publisher's task write the replies first, because callers wait for them.
            yield_now().await;
            summary.report(batch.started.elapsed(), &statements);
            let trace = batch
                .trace
                .and_then(|trace| trace.only(|index| has_outcome[index]));
            if let Some(trace) = trace {
                trace.end(&self.context.traces, &statements);
            }
        }
        Ok(locked)
    }

    fn log_locked(commands: usize) {
        tracing::warn!(
            commands,
            "commands wait for records that somebody else's transaction has locked; the others go on"
        );
    }

    /// Updates the oldest command that is being processed.
    pub(super) fn update_oldest(&self) {
        let oldest = self.retries.oldest().into_iter().chain(self.current_oldest);
        self.context.oldest.set(oldest.min());
    }
}
