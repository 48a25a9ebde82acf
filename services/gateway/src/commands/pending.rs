//! Requests that wait for the reply to their command.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use proto::{CommandId, Reply};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// Notifies the request that waits for one command. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReplySlot(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// Only the first result counts; `None` after it was sent, or after the reply was lost.
    sender: Mutex<Option<oneshot::Sender<SendResult>>>,
    /// A flag and not a result, because a confirm does not end the wait.
    confirmed: AtomicBool,
}

impl ReplySlot {
    /// Whether the request or its wait has ended.
    pub fn is_abandoned(&self) -> bool {
        self.sender()
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }

    /// Ends the wait with this result.
    pub fn finish(&self, result: SendResult) {
        if let Some(sender) = self.sender().take() {
            // This fails only if the request ended meanwhile; then no one needs the result.
            let _ = sender.send(result);
        }
    }

    /// Ends the wait, because the connection failed or the broker did not confirm in time. Whether the
    /// broker has stored the command decides about the result.
    pub fn lose(&self) {
        drop(self.sender().take());
    }

    /// Records that the broker has stored the command. The reply may have arrived before.
    pub fn confirm(&self) {
        self.0.confirmed.store(true, Ordering::Release);
    }

    fn is_confirmed(&self) -> bool {
        self.0.confirmed.load(Ordering::Acquire)
    }

    fn sender(&self) -> MutexGuard<'_, Option<oneshot::Sender<SendResult>>> {
        self.0.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known about a command after it was sent.
#[derive(Debug)]
pub enum SendResult {
    /// The worker's reply.
    Replied(Box<Reply>),
    /// The broker has stored the command, and no reply arrived. A worker will process the command.
    Confirmed,
    /// Neither a confirm nor a reply arrived. The command may or may not take effect.
    Unconfirmed,
    /// The queue is full. The command will not take effect.
    QueueFull,
    /// The command was not sent, or no queue is bound. It will not take effect.
    NotSent,
}

/// All requests that wait for a reply, by correlation id.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingReplies(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    by_id: Mutex<HashMap<u64, Entry>>,
}

#[derive(Debug)]
struct Entry {
    command_id: CommandId,
    slot: ReplySlot,
}

/// The reply names another command than the one that the request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherCommand;

impl PendingReplies {
    /// Passes a reply to the request that waits for it, if there is one.
    ///
    /// # Errors
    /// The reply names another command than the one that the request waits for. A correlation id is
    /// a number that other publishers can guess, so only the command's id proves the match.
    pub fn deliver(&self, id: u64, reply: Reply) -> Result<(), OtherCommand> {
        let by_id = self.lock();
        // The client closed its connection, or has been answered that the command is pending.
        let Some(entry) = by_id.get(&id) else {
            return Ok(());
        };
        if reply.command_id.as_deref() != Some(entry.command_id.as_str()) {
            return Err(OtherCommand);
        }
        entry.slot.finish(SendResult::Replied(Box::new(reply)));
        Ok(())
    }

    /// Notifies all requests that their replies are lost with the connection.
    pub fn fail_all(&self) {
        for entry in self.lock().values() {
            entry.slot.lose();
        }
    }

    pub fn register(&self, command_id: CommandId) -> PendingReply {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, result) = oneshot::channel();
        let slot = ReplySlot(Arc::new(Slot {
            sender: Mutex::new(Some(sender)),
            confirmed: AtomicBool::new(false),
        }));
        let entry = Entry {
            command_id,
            slot: slot.clone(),
        };
        self.lock().insert(id, entry);
        PendingReply {
            id,
            slot,
            result,
            registry: self.clone(),
        }
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.0.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait of one request. Dropping it removes it from [`PendingReplies`]: after a reply, after the
/// deadline, and when the client closes its connection.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub id: u64,
    pub slot: ReplySlot,
    result: oneshot::Receiver<SendResult>,
    registry: PendingReplies,
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.id);
    }
}

impl PendingReply {
    /// Waits for the reply, until the deadline or until it is known that no reply can arrive.
    pub async fn wait(&mut self, deadline: Instant) -> SendResult {
        match timeout_at(deadline, &mut self.result).await {
            Ok(Ok(result)) => result,
            // The reply was lost with the connection, or did not arrive in time.
            Ok(Err(_)) | Err(_) if self.slot.is_confirmed() => SendResult::Confirmed,
            Ok(Err(_)) | Err(_) => SendResult::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests;
