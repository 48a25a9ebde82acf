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

/// An event that ends the wait of a request.
#[derive(Debug)]
pub(crate) enum SendEvent {
    /// The command was not written to the connection.
    NotSent,
    /// The broker returned the message: no queue is bound.
    Unroutable,
    /// The broker rejected the message: the queue is full.
    QueueFull,
    /// The connection failed, or the broker did not confirm in time.
    Lost,
    /// The worker replied.
    Replied(Box<Reply>),
}

/// Notifies the request that waits for one command. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReplySlot(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// Only the first event counts; `None` once it was sent.
    sender: Mutex<Option<oneshot::Sender<SendEvent>>>,
    /// A flag and not an event, because a confirm does not end the wait.
    confirmed: AtomicBool,
}

impl ReplySlot {
    /// Whether the request has ended, or was notified already.
    pub fn is_abandoned(&self) -> bool {
        self.sender()
            .as_ref()
            .is_none_or(oneshot::Sender::is_closed)
    }

    pub fn notify(&self, event: SendEvent) {
        if let Some(sender) = self.sender().take() {
            // This fails only if the request ended meanwhile; then no one needs the event.
            let _ = sender.send(event);
        }
    }

    /// Records that the broker has stored the command. The reply may have arrived before.
    pub fn confirm(&self) {
        self.0.confirmed.store(true, Ordering::Release);
    }

    fn is_confirmed(&self) -> bool {
        self.0.confirmed.load(Ordering::Acquire)
    }

    fn sender(&self) -> MutexGuard<'_, Option<oneshot::Sender<SendEvent>>> {
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
        entry.slot.notify(SendEvent::Replied(Box::new(reply)));
        Ok(())
    }

    /// Notifies all requests that their replies are lost with the connection.
    pub fn fail_all(&self) {
        for entry in self.lock().values() {
            entry.slot.notify(SendEvent::Lost);
        }
    }

    pub fn register(&self, command_id: CommandId) -> PendingReply {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = oneshot::channel();
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
            events,
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
    events: oneshot::Receiver<SendEvent>,
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
        match timeout_at(deadline, &mut self.events).await {
            Ok(Ok(SendEvent::Replied(reply))) => SendResult::Replied(reply),
            Ok(Ok(SendEvent::NotSent | SendEvent::Unroutable)) => SendResult::NotSent,
            Ok(Ok(SendEvent::QueueFull)) => SendResult::QueueFull,
            // The reply was lost with the connection, or did not arrive in time.
            Ok(Ok(SendEvent::Lost) | Err(_)) | Err(_) if self.slot.is_confirmed() => {
                SendResult::Confirmed
            }
            Ok(Ok(SendEvent::Lost) | Err(_)) | Err(_) => SendResult::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests;
