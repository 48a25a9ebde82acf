//! Keeps the order of redelivered commands that have to go back to the broker.
//!
//! In safe mode, a redelivered command may find its record locked. With a prefetch of 1 nothing else would be
//! delivered until the lock ends. So the session ends, and the next one has the full prefetch. The broker
//! delivers the command behind the others that went back, so the store remembers its position:
//!
//! - A session with the full prefetch reserves the places of these commands in [`super::Retries`].
//! - A session in safe mode gives back a command that was delivered before one of them.

use super::{SAFE_PREFETCH, Session, SessionError};
use crate::{
    change::Change,
    process::{Outage, hold_during_outage},
    queue::context::Context,
    store::Redelivery,
};

/// How often a command may end safe mode because its record is locked. If sessions break again and again, safe
/// mode stays on until the lock ends, and the other commands lose no more deliveries.
const MAX_RETURNS: i32 = 5;

impl Session<'_> {
    /// Loads the order of the commands that went back. Called for each redelivered command, before it is
    /// received, because another worker may have been active when this session was opened.
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
            self.checks_order = true;
        } else {
            self.retries.reserve(&undecided);
        }
        Ok(())
    }

    /// In safe mode: whether the command that was just received must go back, because an earlier one for the
    /// same record is behind it in the queue.
    pub(super) async fn is_out_of_order(&mut self) -> Result<bool, SessionError> {
        let Some(received) = self.waiting.back().filter(|_| self.checks_order) else {
            return Ok(false);
        };
        let redelivery = remember(self.context, &received.change).await?;
        self.redelivery = Some(redelivery);
        if redelivery.must_wait {
            tracing::info!(
                command.id = received.change.command_id.as_str(),
                "a command goes back to the broker, behind an earlier one for the same record"
            );
        }
        Ok(redelivery.must_wait)
    }

    /// In safe mode: whether a redelivered command waits for a locked record, and must go back so that the
    /// others are delivered.
    pub(super) async fn must_return_locked(&mut self) -> Result<bool, SessionError> {
        let Some(locked) = self.retries.first() else {
            return Ok(false);
        };
        if self.prefetch != SAFE_PREFETCH {
            return Ok(false);
        }
        let redelivery = match self.redelivery {
            Some(redelivery) => redelivery,
            None => remember(self.context, &locked.change).await?,
        };
        let must_return = redelivery.deliveries <= MAX_RETURNS;
        if !must_return {
            tracing::warn!(
                "sessions break while a record is locked; all commands wait in safe mode until the lock ends"
            );
        }
        Ok(must_return)
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
