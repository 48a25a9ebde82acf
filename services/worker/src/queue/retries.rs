//! Retries commands whose records are locked, at the same time as the batches of the other commands.

use std::{
    hash::RandomState,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::sleep_until;

use super::{
    batch::{Batch, ProcessedBatch},
    context::Context,
    incoming::Incoming,
    locked_commands::{KeyHashes, LockedCommands, key_hashes},
};
use crate::{
    process::Hold,
    store::{UndecidedCommand, Writer},
};

/// Pause between two attempts. An attempt itself waits for the lock as long as every other statement.
const PAUSE: Duration = Duration::from_millis(200);
/// The most commands in one attempt.
const MAX_ATTEMPTED: usize = 200;

/// The commands of a session that wait for locked records, and the connection that retries them.
pub(super) struct Retries<'a> {
    context: &'a Context,
    hold: Hold,
    commands: LockedCommands<Incoming>,
    /// The connection for attempts, while there is no attempt. Opened for the first attempt.
    writer: Option<Writer>,
    attempt: Option<LocalBoxFuture<'a, (Writer, ProcessedBatch)>>,
    /// When the oldest command of the attempt was published. Set until [`Retries::finish_attempt`].
    attempt_oldest: Option<u64>,
    /// The earliest start of the next attempt.
    next_attempt: Instant,
    hasher: RandomState,
}

impl<'a> Retries<'a> {
    pub fn new(context: &'a Context, hold: Hold) -> Self {
        Self {
            context,
            hold,
            commands: LockedCommands::default(),
            writer: None,
            attempt: None,
            attempt_oldest: None,
            next_attempt: Instant::now(),
            hasher: RandomState::new(),
        }
    }

    /// Whether a command has to wait behind one of these commands.
    pub fn must_wait(&self, incoming: &Incoming) -> bool {
        let order = incoming.order;
        !self.commands.is_empty() && self.commands.overlaps(order, self.hashes(incoming))
    }

    fn hashes(&self, incoming: &Incoming) -> KeyHashes {
        let change = &incoming.change;
        key_hashes(&self.hasher, change.command.key(), &change.command_id)
    }

    /// Reserves the places of commands that went back to the broker before. All other commands of the session
    /// come after them.
    pub fn reserve(&mut self, commands: &[UndecidedCommand]) {
        let hashes = |command: &UndecidedCommand| {
            key_hashes(&self.hasher, &command.key, &command.command_id)
        };
        self.commands.reserve(commands.iter().map(hashes));
    }

    /// Ends all reservations, because the commands will not arrive.
    pub fn release_reserved(&mut self) {
        self.commands.release_reserved();
    }

    /// Adds a command: see [`LockedCommands::push`].
    pub fn push(&mut self, mut incoming: Incoming, found_locked: bool) {
        if self.commands.is_empty() {
            self.next_attempt = Instant::now() + PAUSE;
        }
        let hashes = self.hashes(&incoming);
        if let Some(order) = self.commands.take_reserved(hashes) {
            incoming.order = order;
        }
        let order = incoming.order;
        self.commands.push(order, hashes, incoming, found_locked);
    }

    /// The first of these commands.
    pub fn first(&self) -> Option<&Incoming> {
        self.commands.waiting().next()
    }

    /// When the oldest of these commands was published, in seconds since 1970.
    pub fn oldest(&self) -> Option<u64> {
        let waiting = self.commands.waiting().map(Incoming::published);
        waiting.chain(self.attempt_oldest).min()
    }

    /// Waits for the result of the current attempt, or for that of the next one. `None` if no command waits.
    /// It can be dropped and called again without losing an attempt.
    pub async fn next(&mut self) -> Option<ProcessedBatch> {
        while self.attempt.is_none() {
            self.first()?;
            sleep_until(self.next_attempt.into()).await;
            self.start_attempt();
        }
        self.finish().await
    }

    /// Starts an attempt, unless all commands wait behind reserved places.
    fn start_attempt(&mut self) {
        let context = self.context;
        let commands = self.commands.start_attempt(MAX_ATTEMPTED);
        if commands.is_empty() {
            self.next_attempt = Instant::now() + PAUSE;
            return;
        }
        let batch = Batch::new(commands, &context.traces);
        self.attempt_oldest = batch.oldest();
        let mut writer = self.writer.take().unwrap_or_else(|| context.store.writer());
        let hold = self.hold;
        let attempt = async move {
            let processed = batch.process(&mut writer, hold, &context.stop).await;
            (writer, processed)
        };
        self.attempt = Some(attempt.boxed_local());
    }

    /// Waits for the result of the current attempt. `None` if there is no attempt.
    pub async fn finish(&mut self) -> Option<ProcessedBatch> {
        let (writer, processed) = self.attempt.as_mut()?.await;
        self.attempt = None;
        self.writer = Some(writer);
        self.next_attempt = Instant::now() + PAUSE;
        Some(processed)
    }

    /// Takes back the commands of the attempt that are still locked. Returns the commands that no longer have
    /// to wait, in their order.
    pub fn finish_attempt(&mut self, still_locked: Vec<Incoming>) -> Vec<Incoming> {
        let with_hashes = |incoming: Incoming| (incoming.order, self.hashes(&incoming), incoming);
        let still_locked = still_locked.into_iter().map(with_hashes).collect();
        self.attempt_oldest = None;
        self.commands.finish_attempt(still_locked)
    }
}
