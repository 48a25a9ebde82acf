//! A session with the broker: one channel that publishes commands, and the consumer of their replies.

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use lapin::{Channel, Connection, Consumer, message::Delivery};
use proto::{
    Reply,
    amqp::topology::TopologyError,
    reply::{self, BatchedReply},
};
use runtime::broker::{self, BrokerError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    pending::{PendingReplies, SendResult},
    publish::{OutgoingCommand, PublishEnd, publish},
};
use crate::{log_throttle::LogThrottle, metrics};

/// Commands that may wait to be published. A further command is rejected at once, because it would
/// reach the broker too late.
const MAX_WAITING_COMMANDS: usize = 4096;
/// Larger messages on the reply queue are ignored. The worker puts about 128 KiB of details into one
/// message.
const MAX_REPLY_BYTES: usize = 4 * 1024 * 1024;

/// A handle to the current session. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    commands: mpsc::Sender<OutgoingCommand>,
    blocked: watch::Receiver<bool>,
    reply_to: Arc<str>,
}

impl Session {
    /// The queue that the worker must send replies to.
    pub fn reply_to(&self) -> &str {
        &self.reply_to
    }

    /// Passes a command to the session. After `false` the command is not sent, now or later.
    #[must_use]
    pub fn send(&self, command: OutgoingCommand) -> bool {
        self.is_open() && self.commands.try_send(command).is_ok()
    }

    /// Whether the broker accepts commands, which it does not while it has a resource alarm.
    pub fn is_open(&self) -> bool {
        !*self.blocked.borrow()
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker ended the reply consumer")]
    Ended,
    #[error("{0}")]
    Lost(String),
}

/// Runs a session until it fails or the gateway stops.
pub(crate) struct SessionTask<'a> {
    channel: Channel,
    replies: Consumer,
    commands: mpsc::Receiver<OutgoingCommand>,
    pending: &'a PendingReplies,
    blocked: watch::Sender<bool>,
    /// When the last resource alarm of the broker ended.
    unblocked_at: Option<Instant>,
    ignored_reply_log: LogThrottle,
}

impl<'a> SessionTask<'a> {
    pub fn new(
        channel: Channel,
        replies: Consumer,
        reply_to: String,
        pending: &'a PendingReplies,
    ) -> (Session, Self) {
        let (sender, commands) = mpsc::channel(MAX_WAITING_COMMANDS);
        let (blocked, is_blocked) = watch::channel(false);
        let session = Session {
            commands: sender,
            blocked: is_blocked,
            reply_to: reply_to.into(),
        };
        let task = Self {
            channel,
            replies,
            commands,
            pending,
            blocked,
            unblocked_at: None,
            ignored_reply_log: LogThrottle::default(),
        };
        (session, task)
    }

    pub async fn run(
        &mut self,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> Result<(), SessionError> {
        let mut in_flight = FuturesUnordered::new();
        let mut events = Box::pin(connection.events_listener());
        let end = loop {
            tokio::select! {
                Some(command) = self.commands.recv() => {
                    in_flight.push(publish(self.channel.clone(), command));
                }
                Some(end) = in_flight.next() => {
                    if end == PublishEnd::TimedOut && !self.was_blocked() {
                        break Err(SessionError::Lost("no confirm came in time".to_owned()));
                    }
                }
                delivery = self.replies.next() => match delivery {
                    Some(Ok(delivery)) => self.deliver_replies(&delivery),
                    Some(Err(error)) => break Err(BrokerError::from(error).into()),
                    None => break Err(SessionError::Ended),
                },
                event = events.next() => match event {
                    Some(lapin::Event::ConnectionBlocked(_)) => self.set_blocked(true),
                    Some(lapin::Event::ConnectionUnblocked) => self.set_blocked(false),
                    Some(lapin::Event::Error(error)) => {
                        break Err(SessionError::Lost(error.to_string()));
                    }
                    Some(_) => {}
                    None => break Err(SessionError::Ended),
                },
                () = stop.cancelled() => break Ok(()),
            }
        };
        // Commands that were confirmed before the session ended are reported as confirmed.
        while let Some(Some(_)) = in_flight.next().now_or_never() {}
        end
    }

    /// Notifies every request that still waits: no reply can arrive in this session any more.
    pub fn fail_pending(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            command.slot.finish(SendResult::NotSent);
        }
        self.pending.fail_all();
    }

    fn deliver_replies(&mut self, delivery: &Delivery) {
        if delivery.data.len() > MAX_REPLY_BYTES {
            return self.ignore("too large");
        }
        let Ok(replies) = decode_replies(delivery) else {
            return self.ignore("unreadable");
        };
        for batched in replies {
            let id = batched.correlation_id.and_then(|id| id.parse().ok());
            if let Some(id) = id
                && self.pending.deliver(id, batched.reply).is_err()
            {
                self.ignore("another command");
            }
        }
    }

    /// Any client with write permission can send anything to the reply queue. A request whose reply
    /// was ignored reads the outcome from the ledger.
    fn ignore(&mut self, reason: &'static str) {
        metrics::reply_ignored(reason);
        if self.ignored_reply_log.is_due() {
            tracing::warn!(
                reason,
                "ignored a reply; the outcome of its command is read from the ledger"
            );
        }
    }

    /// Whether a confirm that is missing now may be late because of a resource alarm. While the connection is
    /// blocked, the broker confirms nothing.
    fn was_blocked(&self) -> bool {
        *self.blocked.borrow() || self.unblocked_at.is_some_and(is_recent)
    }

    fn set_blocked(&mut self, blocked: bool) {
        tracing::warn!(blocked, "the broker's resource alarm changed");
        self.blocked.send_replace(blocked);
        if !blocked {
            self.unblocked_at = Some(Instant::now());
        }
    }
}

/// Whether a command that times out now may have been published before this moment.
fn is_recent(moment: Instant) -> bool {
    moment.elapsed() < broker::DEADLINE
}

/// The replies in a message: several with their own correlation ids, or one with the message's.
fn decode_replies(delivery: &Delivery) -> serde_json::Result<Vec<BatchedReply>> {
    let kind = delivery.properties.kind().as_ref();
    if kind.is_some_and(|kind| kind.as_str() == reply::PACKED_TYPE) {
        return serde_json::from_slice(&delivery.data);
    }
    let reply: Reply = serde_json::from_slice(&delivery.data)?;
    let correlation_id = delivery.properties.correlation_id().as_ref();
    Ok(vec![BatchedReply {
        correlation_id: correlation_id.map(ToString::to_string),
        reply,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_excuses_a_late_confirm_until_its_deadline_has_passed() {
        let now = Instant::now();
        assert!(is_recent(now));

        let past = now.checked_sub(broker::DEADLINE);
        assert!(past.is_some_and(|past| !is_recent(past)));
    }
}
