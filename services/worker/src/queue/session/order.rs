//! Keeps the order of redelivered commands that go back to the broker.
//!
//! In safe mode, a redelivered command may find its record locked. With a prefetch of 1 nothing else would be
//! delivered until the lock ends. So the session ends, and the next one has the full prefetch. The broker
//! delivers the command behind the others that went back, so the store has its place in the order:
//!
//! - A session with the full prefetch reserves the places of these commands in [`super::Retries`].
//! - A session in safe mode gives back a command that is delivered before an earlier one for its record.

use std::time::{Duration, Instant};

use super::{SAFE_PREFETCH, Session, SessionEnd, SessionError};
use crate::{
    change::Change,
    process::{Outage, hold_during_outage},
    queue::context::Context,
    store::{Redelivery, UndecidedCommand},
};

/// How often commands may end safe mode because of a locked record. If sessions break again and again, safe
/// mode stays on until the lock ends. Otherwise each broken session would cost all commands one delivery.
const MAX_RETURNS: i64 = 5;
/// How long to keep the reserved places while nothing is delivered or decided. The broker delivers the commands
/// that went back before all new ones. So a command that does not arrive is not in the queue any more.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(30);

impl Session<'_> {
    /// Loads the order of the commands that went back, once. Called before the first redelivered command is
    /// received: another worker may have been active when this session was opened.
    pub(super) async fn load_order(&mut self) -> Result<(), SessionError> {
        if self.order_is_loaded {
            return Ok(());
        }
        let Context { store, stop, .. } = self.context;
        let undecided = hold_during_outage(1, stop, async || store.undecided_redelivered().await)
            .await
            .map_err(|source| Outage {
                source,
                sample: Vec::new(),
            })?;
        self.order_is_loaded = true;
        if undecided.is_empty() {
            return Ok(());
        }
        tracing::info!(
            commands = undecided.len(),
            "commands that went back to the broker keep their places in the order"
        );
        if self.prefetch == SAFE_PREFETCH {
            self.undecided = undecided;
        } else {
            self.retries.reserve(&undecided);
            self.reserved_until = Some(Instant::now() + RESERVED_TIMEOUT);
        }
        Ok(())
    }

    /// Keeps the reserved places for longer, because a command arrived or was decided.
    pub(super) fn extend_reserved(&mut self) {
        if self.reserved_until.is_some() {
            self.reserved_until = Some(Instant::now() + RESERVED_TIMEOUT);
        }
    }

    /// When to release the reserved places. `None` while a batch is processed or commands wait for one.
    pub(super) fn release_reserved_at(&self) -> Option<Instant> {
        let is_idle = self.current.is_none() && self.waiting.is_empty();
        self.reserved_until.filter(|_| is_idle)
    }

    /// Releases the reserved places, because their commands are not in the queue any more.
    pub(super) fn release_reserved(&mut self) {
        if self.reserved_until.take().is_some() {
            self.retries.release_reserved();
        }
    }

    /// In safe mode: whether the command that was just received must go back, because an earlier one for the
    /// same record is behind it in the queue.
    pub(super) async fn returns_early_command(
        &mut self,
    ) -> Result<Option<SessionEnd>, SessionError> {
        let Some(received) = self.waiting.back() else {
            return Ok(None);
        };
        let change = &received.change;
        let shares_record = |it: &UndecidedCommand| it.key == *change.command.key();
        if !self.undecided.iter().any(shares_record) {
            return Ok(None);
        }
        let redelivery = remember(self.context, change).await?;
        self.redelivery = Some(redelivery);
        Ok(redelivery.must_wait.then_some(SessionEnd::Returned {
            full_prefetch: redelivery.returns <= MAX_RETURNS,
        }))
    }

    /// In safe mode: whether a redelivered command waits for a locked record, and goes back so that the others
    /// are delivered.
    pub(super) async fn returns_locked_command(
        &mut self,
    ) -> Result<Option<SessionEnd>, SessionError> {
        let Some(locked) = self.retries.first() else {
            return Ok(None);
        };
        if self.prefetch != SAFE_PREFETCH {
            return Ok(None);
        }
        let redelivery = match self.redelivery {
            Some(redelivery) => redelivery,
            None => remember(self.context, &locked.change).await?,
        };
        if redelivery.returns > MAX_RETURNS {
            tracing::warn!(
                "sessions break while a record is locked; all commands wait in safe mode until the lock ends"
            );
            return Ok(None);
        }
        Ok(Some(SessionEnd::Returned {
            full_prefetch: true,
        }))
    }
}

async fn remember(context: &Context, change: &Change) -> Result<Redelivery, Outage> {
    let Context { store, stop, .. } = context;
    hold_during_outage(1, stop, async || store.remember_redelivered(change).await)
        .await
        .map_err(|source| Outage {
            source,
            sample: vec![change.clone()],
        })
}
