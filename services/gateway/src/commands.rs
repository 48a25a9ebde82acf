//! Sends a command and waits for its answer.
//!
//! A waiter is filed under the request's correlation id *before* the command is published, so
//! that an answer can never arrive ahead of the one who waits for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use lapin::uri::AMQPUri;
use proto::{Command, CommandId, Envelope, Reply};
use runtime::traces::{self, Place as TracePlace, SpanKind};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    command_id::CommandIds,
    link::{self, Job, Link},
    metrics,
};

/// Something that happened to a command, and that whoever waits for it has to know at once.
#[derive(Debug)]
pub(crate) enum Progress {
    NotSent,
    Unroutable,
    QueueFull,
    TooLarge,
    Lost,
    Answered(Box<Reply>),
}

/// Where a command's sender tells how it goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Teller(Arc<Told>);

#[derive(Debug)]
struct Told {
    /// The first word is the last: whoever waits goes by it. Taken once it is said.
    word: Mutex<Option<oneshot::Sender<Progress>>>,
    /// Wakes nobody: it matters only to those who are not answered in the end.
    confirmed: AtomicBool,
}

impl Teller {
    /// Whether nobody waits any more.
    pub fn is_alone(&self) -> bool {
        self.word().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    pub fn tell(&self, progress: Progress) {
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

    fn word(&self) -> MutexGuard<'_, Option<oneshot::Sender<Progress>>> {
        self.0.word.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a command came.
#[derive(Debug)]
pub enum Sent {
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

/// Sends commands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commands {
    link: watch::Receiver<Option<Link>>,
    waiters: Waiters,
    user: Arc<str>,
    ids: CommandIds,
}

impl Commands {
    /// Starts the supervisor of the connection, which ends with `stop`, or with an error if the
    /// broker has another topology.
    #[must_use]
    pub fn start(
        uri: AMQPUri,
        ids: CommandIds,
        stop: CancellationToken,
    ) -> (
        Self,
        JoinHandle<Result<(), proto::amqp::topology::TopologyError>>,
    ) {
        let waiters = Waiters::default();
        let user = Arc::from(uri.authority.userinfo.username.as_str());
        let (sender, link) = watch::channel(None);
        let supervisor = tokio::spawn(link::supervise(uri, waiters.clone(), sender, stop));
        let commands = Self {
            link,
            waiters,
            user,
            ids,
        };
        (commands, supervisor)
    }

    /// What commands are named by.
    #[must_use]
    pub fn ids(&self) -> &CommandIds {
        &self.ids
    }

    /// Whether commands are taken at the moment.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.borrow().as_ref().is_some_and(Link::is_open)
    }

    /// How many wait for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.lock().len()
    }

    /// Publishes a command and waits for its answer, until the deadline or until it is clear that
    /// no answer will come.
    pub async fn send(
        &self,
        envelope: Envelope,
        command: &Command,
        deadline: Instant,
        trace: &TracePlace,
    ) -> Sent {
        let (Ok(body), Some(link)) = (command.encode(), self.link.borrow().clone()) else {
            return Sent::NotSent;
        };
        let Some(command_id) = envelope.command_id.clone() else {
            return Sent::NotSent;
        };
        let mut place = self.waiters.place(command_id);
        let started = Instant::now();
        let sending = trace.span("send ipack.commands", SpanKind::Producer);
        let waiting = trace.span("wait for the reply", SpanKind::Internal);
        let envelope = Envelope {
            correlation_id: Some(place.id.to_string()),
            pack_replies: true,
            reply_to: Some(link.reply_to().to_owned()),
            user_id: Some(self.user.to_string()),
            traceparent: Some(traces::traceparent(sending.context())),
            tracestate: traces::tracestate(sending.context()),
            ..envelope
        };
        let job = Job {
            kind: command.kind(),
            body,
            properties: envelope.properties(),
            teller: place.teller.clone(),
            sending,
        };
        if !link.send(job) {
            return Sent::NotSent;
        }
        let sent = place.answer(deadline).await;
        drop(waiting);
        if matches!(sent, Sent::Answered(_)) {
            metrics::replied(started.elapsed());
        }
        sent
    }
}

/// Who waits for which answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    command_id: CommandId,
    teller: Teller,
}

/// A reply to somebody who waits for another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherCommand;

impl Waiters {
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
        waiter.teller.tell(Progress::Answered(Box::new(reply)));
        Ok(())
    }

    /// The channel that the answers would have come by is gone.
    pub fn abandon(&self) {
        for waiter in self.lock().values() {
            waiter.teller.tell(Progress::Lost);
        }
    }

    fn place(&self, command_id: CommandId) -> Place {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, word) = oneshot::channel();
        let teller = Teller(Arc::new(Told {
            word: Mutex::new(Some(sender)),
            confirmed: AtomicBool::new(false),
        }));
        let waiter = Waiter {
            command_id,
            teller: teller.clone(),
        };
        self.lock().insert(id, waiter);
        Place {
            id,
            teller,
            word,
            waiters: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiter>> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the waiting list. It is given up when dropped: after an answer, a deadline and a
/// client that hung up alike.
#[derive(Debug)]
struct Place {
    id: u64,
    teller: Teller,
    word: oneshot::Receiver<Progress>,
    waiters: Waiters,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}

impl Place {
    async fn answer(&mut self, deadline: Instant) -> Sent {
        match timeout_at(deadline, &mut self.word).await {
            Ok(Ok(Progress::Answered(reply))) => Sent::Answered(reply),
            Ok(Ok(Progress::NotSent | Progress::Unroutable)) => Sent::NotSent,
            Ok(Ok(Progress::QueueFull)) => Sent::QueueFull,
            Ok(Ok(Progress::TooLarge)) => Sent::TooLarge,
            // The answer was lost with the connection, or does not come in time.
            Ok(Ok(Progress::Lost) | Err(_)) | Err(_) if self.teller.is_confirmed() => {
                Sent::Confirmed
            }
            Ok(Ok(Progress::Lost) | Err(_)) | Err(_) => Sent::Unconfirmed,
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
        let waiters = Waiters::default();
        let command_id = CommandId::new("mine").map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let mut place = waiters.place(command_id);

        for foreign in [Some("another"), None] {
            assert_eq!(waiters.answer(place.id, reply(foreign)), Err(OtherCommand));
        }
        assert_eq!(waiters.answer(place.id + 1, reply(Some("mine"))), Ok(()));
        assert!(place.word.try_recv().is_err(), "nobody was told anything");
        assert_eq!(waiters.answer(place.id, reply(Some("mine"))), Ok(()));

        let sent = place.answer(Instant::now()).await;
        assert!(matches!(sent, Sent::Answered(_)), "{sent:?}");
        Ok(())
    }
}
