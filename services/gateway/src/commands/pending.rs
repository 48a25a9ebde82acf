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

/// Something that happened to a command, and that whoever waits for it has to know at once.
#[derive(Debug)]
pub(crate) enum SendEvent {
    NotSent,
    Unroutable,
    QueueFull,
    TooLarge,
    Lost,
    Answered(Box<Reply>),
}

/// Where a command's sender tells how it goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ReplySlot(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    /// The first word is the last: whoever waits goes by it. Taken once it is said.
    word: Mutex<Option<oneshot::Sender<SendEvent>>>,
    /// Wakes nobody: it matters only to those who are not answered in the end.
    confirmed: AtomicBool,
}

impl ReplySlot {
    /// Whether nobody waits any more.
    pub fn is_alone(&self) -> bool {
        self.word().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub fn tell(&self, progress: SendEvent) {
        if let Some(word) = self.word().take() {
            let _ = word.send(progress);
        }
    }

    /// The broker has the command. An answer may have overtaken this.
    pub fn confirm(&self) {
        self.0.confirmed.store(true, Ordering::Release);
    }

    fn is_confirmed(&self) -> bool {
        self.0.confirmed.load(Ordering::Acquire)
    }

    fn word(&self) -> MutexGuard<'_, Option<oneshot::Sender<SendEvent>>> {
        self.0.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a command came.
#[derive(Debug)]
pub enum SendResult {
    /// The worker's answer.
    Answered(Box<Reply>),
    /// Confirmed and not answered in time, or the way of the answer is gone: it will be decided.
    Confirmed,
    /// Neither confirmed nor answered: it may or may not arrive.
    Unconfirmed,
    /// The queue is full: it will not arrive.
    QueueFull,
    /// It does not fit into the frames that the broker takes: nothing was sent.
    TooLarge,
    /// Nothing left for the broker, or the broker has no queue for it: it will not arrive.
    NotSent,
}

/// Who waits for which answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingReplies(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Pending>>,
}

#[derive(Debug)]
struct Pending {
    command_id: CommandId,
    slot: ReplySlot,
}

/// A reply to somebody who waits for another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherCommand;

impl PendingReplies {
    /// Gives a reply to whoever waits for it, if anybody does.
    ///
    /// # Errors
    /// The reply names another command than the one that is waited for. Correlation ids are
    /// numbers, which others can guess; only the command's id says what was decided.
    pub fn answer(&self, id: u64, reply: Reply) -> Result<(), OtherCommand> {
        let waiting = self.lock();
        // None: the client has hung up, or was told that the save is pending.
        let Some(waiter) = waiting.get(&id) else {
            return Ok(());
        };
        if reply.command_id.as_deref() != Some(waiter.command_id.as_str()) {
            return Err(OtherCommand);
        }
        waiter.slot.tell(SendEvent::Answered(Box::new(reply)));
        Ok(())
    }

    /// The channel that the answers would have come by is gone.
    pub fn abandon(&self) {
        for waiter in self.lock().values() {
            waiter.slot.tell(SendEvent::Lost);
        }
    }

    pub fn place(&self, command_id: CommandId) -> PendingReply {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, word) = oneshot::channel();
        let slot = ReplySlot(Arc::new(Slot {
            word: Mutex::new(Some(sender)),
            confirmed: AtomicBool::new(false),
        }));
        let waiter = Pending {
            command_id,
            slot: slot.clone(),
        };
        self.lock().insert(id, waiter);
        PendingReply {
            id,
            slot,
            word,
            pending: self.clone(),
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the waiting list. It is given up when dropped: after an answer, a deadline and a
/// client that hung up alike.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub id: u64,
    pub slot: ReplySlot,
    word: oneshot::Receiver<SendEvent>,
    pending: PendingReplies,
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

impl PendingReply {
    /// Waits for the answer, until the deadline or until it is clear that none will come.
    pub async fn answer(&mut self, deadline: Instant) -> SendResult {
        match timeout_at(deadline, &mut self.word).await {
            Ok(Ok(SendEvent::Answered(reply))) => SendResult::Answered(reply),
            Ok(Ok(SendEvent::NotSent | SendEvent::Unroutable)) => SendResult::NotSent,
            Ok(Ok(SendEvent::QueueFull)) => SendResult::QueueFull,
            Ok(Ok(SendEvent::TooLarge)) => SendResult::TooLarge,
            // The answer was lost with the connection, or does not come in time.
            Ok(Ok(SendEvent::Lost) | Err(_)) | Err(_) if self.slot.is_confirmed() => {
                SendResult::Confirmed
            }
            Ok(Ok(SendEvent::Lost) | Err(_)) | Err(_) => SendResult::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::Outcome;

    use super::*;

    fn reply(command_id: Option<&str>) -> Reply {
        Reply {
            command_id: command_id.map(ToOwned::to_owned),
            outcome: Outcome::Deleted { record: None },
        }
    }

    #[tokio::test]
    async fn a_reply_is_accepted_only_for_the_command_that_it_names() -> anyhow::Result<()> {
        let pending = PendingReplies::default();
        let command_id = CommandId::new("mine").map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let mut place = pending.place(command_id);

        for foreign in [Some("another"), None] {
            assert_eq!(pending.answer(place.id, reply(foreign)), Err(OtherCommand));
        }
        assert_eq!(pending.answer(place.id + 1, reply(Some("mine"))), Ok(()));
        assert!(place.word.try_recv().is_err(), "nobody was told anything");
        assert_eq!(pending.answer(place.id, reply(Some("mine"))), Ok(()));

        let sent = place.answer(Instant::now()).await;
        assert!(matches!(sent, SendResult::Answered(_)), "{sent:?}");
        Ok(())
    }
}
