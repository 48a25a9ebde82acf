//! Keeps the order of redelivered commands that go back to the broker.
//!
//! In safe mode, a redelivered command may find its record locked. With a prefetch of 1 nothing else would be
//! delivered until the lock ends. So the session ends, and the next one has the full prefetch. The broker
//! delivers the command behind the others that went back, so the store has its place in the order:
//!
//! - A session with the full prefetch reserves the places of these commands in [`super::Retries`].
//! - A session in safe mode gives back a command that is delivered before an earlier one for its record.

use std::{
    mem::take,
    time::{Duration, Instant},
};

use super::{SAFE_PREFETCH, Session, SessionEnd, SessionError, WINDOW_BYTES, hold};
use crate::{
    change::Change,
    process::{Hold, Outage, hold_during_outage},
    queue::context::Context,
    store::Redelivery,
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
        if self.order.is_loaded {
            return Ok(());
        }
        let Context { store, stop, .. } = self.context;
        let select = async || store.undecided_redelivered().await;
        let undecided = hold_during_outage(1, hold(self.prefetch), stop, select)
            .await
            .map_err(|source| Outage {
                source,
                sample: Vec::new(),
            })?;
        self.order.is_loaded = true;
        if undecided.is_empty() {
            return Ok(());
        }
        tracing::info!(
            commands = undecided.len(),
            "commands that went back to the broker keep their places in the order"
        );
        if self.prefetch != SAFE_PREFETCH {
            self.retries.reserve(&undecided);
            self.order.reserved_until = Some(Instant::now() + RESERVED_TIMEOUT);
        }
        self.order.undecided = undecided;
        Ok(())
    }

    /// Keeps the reserved places for longer, because a command arrived or was decided.
    pub(super) fn extend_reserved(&mut self) {
        if self.order.reserved_until.is_some() {
            self.order.reserved_until = Some(Instant::now() + RESERVED_TIMEOUT);
        }
    }

    /// When to release the reserved places. `None` while a batch is processed or commands wait for one.
    pub(super) fn release_reserved_at(&self) -> Option<Instant> {
        let is_idle = self.current.is_none() && self.waiting.is_empty();
        self.order.reserved_until.filter(|_| is_idle)
    }

    /// Releases the reserved places, because nothing arrived for a while. If the window is full, their commands
    /// may be in the socket. Then the session ends, and safe mode restores the order.
    pub(super) fn release_after_timeout(&mut self) -> Option<SessionEnd> {
        if self.window.used() >= WINDOW_BYTES {
            return Some(SessionEnd::Returned {
                full_prefetch: false,
            });
        }
        self.order.reserved_until = None;
        self.retries.release_reserved();
        None
    }

    /// Called for each command that is received. The broker delivers redeliveries first. So if this command is
    /// new, those that went back and have not arrived are not in the queue any more.
    pub(super) fn command_arrived(&mut self, redelivered: bool) {
        if redelivered || self.order.undecided.is_empty() {
            return;
        }
        self.order.reserved_until = None;
        self.retries.release_reserved();
        let (store, gone) = (self.context.store.clone(), take(&mut self.order.undecided));
        tokio::spawn(async move {
            if let Err(error) = store.forget_redelivered(&gone).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "commands that went back could not be forgotten");
            }
        });
    }

    /// With the full prefetch: a command that went back has arrived.
    pub(super) fn place_taken(&mut self, change: &Change) {
        if self.prefetch != SAFE_PREFETCH {
            self.order.remove(change);
        }
    }

    /// In safe mode: whether the command that was just received must go back, because an earlier one for the
    /// same record is behind it in the queue.
    pub(super) async fn returns_early_command(
        &mut self,
    ) -> Result<Option<SessionEnd>, SessionError> {
        self.order.redelivery = None;
        let Some(received) = self.waiting.back() else {
            return Ok(None);
        };
        if self.prefetch != SAFE_PREFETCH {
            return Ok(None);
        }
        let change = &received.change;
        if !self.order.has_record(change) {
            // An earlier command with this id is for another record. The full prefetch keeps their order.
            let full_prefetch = true;
            let shares_id = self.order.has_id(change);
            return Ok(shares_id.then_some(SessionEnd::Returned { full_prefetch }));
        }
        let redelivery = remember(self.context, change).await?;
        self.order.redelivery = Some(redelivery);
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
        let redelivery = match self.order.redelivery {
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
    let remember = async || store.remember_redelivered(change).await;
    hold_during_outage(1, Hold::UntilAvailable, stop, remember)
        .await
        .map_err(|source| Outage {
            source,
            sample: vec![change.clone()],
        })
}
