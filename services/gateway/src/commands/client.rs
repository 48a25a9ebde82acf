//! Sends a command and waits for its answer.
//!
//! A waiter is filed under the request's correlation id *before* the command is published, so
//! that an answer can never arrive ahead of the one who waits for it.

use std::sync::Arc;

use lapin::uri::AMQPUri;
use proto::{Command, Envelope};
use runtime::traces::{self, SpanKind, TraceContext};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{self, Link, OutgoingCommand},
    idempotency::CommandIds,
    pending::PendingReplies,
};
pub use crate::commands::pending::SendResult;
use crate::metrics;

/// Sends commands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commands {
    link: watch::Receiver<Option<Link>>,
    pending: PendingReplies,
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
        let pending = PendingReplies::default();
        let user = Arc::from(uri.authority.userinfo.username.as_str());
        let (sender, link) = watch::channel(None);
        let supervisor = tokio::spawn(connection::supervise(uri, pending.clone(), sender, stop));
        let commands = Self {
            link,
            pending,
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
        self.pending.count()
    }

    /// Publishes a command and waits for its answer, until the deadline or until it is clear that
    /// no answer will come.
    pub async fn send(
        &self,
        envelope: Envelope,
        command: &Command,
        deadline: Instant,
        trace: &TraceContext,
    ) -> SendResult {
        let (Ok(body), Some(link)) = (command.encode(), self.link.borrow().clone()) else {
            return SendResult::NotSent;
        };
        let Some(command_id) = envelope.command_id.clone() else {
            return SendResult::NotSent;
        };
        let mut place = self.pending.place(command_id);
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
        let job = OutgoingCommand {
            kind: command.kind(),
            body,
            properties: envelope.properties(),
            slot: place.slot.clone(),
            sending,
        };
        if !link.send(job) {
            return SendResult::NotSent;
        }
        let sent = place.answer(deadline).await;
        drop(waiting);
        if matches!(sent, SendResult::Answered(_)) {
            metrics::replied(started.elapsed());
        }
        sent
    }
}
