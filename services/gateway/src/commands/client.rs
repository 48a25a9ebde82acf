//! Sends a command and waits for its reply.
//!
//! The pending reply is registered under the request's correlation id *before* the command is
//! published, so that the reply can't arrive before the request waits for it.

use std::sync::Arc;

use lapin::uri::AMQPUri;
use proto::{Command, Envelope, amqp};
use runtime::{
    supervise,
    traces::{self, SpanKind, TraceContext},
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    connection::BrokerSession, idempotency::CommandIds, pending::PendingReplies,
    publish::OutgoingCommand, session::Session,
};
pub use crate::commands::pending::SendResult;
use crate::{auth::caller::MAX_SUBJECT_BYTES, metrics};

/// The `tracestate` of a request is copied into the message, so it must fit into the contract.
const _: () = assert!(traces::MAX_TRACESTATE_BYTES <= amqp::envelope::MAX_TRACESTATE_BYTES);

/// RabbitMQ accepts the properties of a message in one frame only. At a larger one it closes the connection,
/// and the requests of all clients fail. No limit on frames is lower than this (AMQP 0-9-1, 4.2.3).
const MIN_FRAME_BYTES: usize = 4096;
/// Content type, correlation id, `reply_to`, `message_id`, `type`, user id and app id.
const SHORT_STRINGS: usize = 7;
/// The subject, `traceparent`, `tracestate`, and whether replies may be packed.
const HEADERS: usize = 4;
const _: () = assert!(MAX_PROPERTIES_BYTES <= MIN_FRAME_BYTES);

/// More than the properties of any command take, with the frame around them.
const MAX_PROPERTIES_BYTES: usize = {
    // A length, and the text.
    let short_string = 1 + 255;
    // Type, channel and size; class, weight, size of the body and flags; the end of the frame.
    let frame = 7 + 2 + 2 + 8 + 2 + 1;
    let (delivery_mode, timestamp, boolean, traceparent) = (1, 8, 1, 55);
    // The size of the table. The name, the type and the length of each header.
    let table = 4 + HEADERS * (short_string + 1 + 4);
    let values = MAX_SUBJECT_BYTES + traceparent + traces::MAX_TRACESTATE_BYTES + boolean;
    frame + SHORT_STRINGS * short_string + delivery_mode + timestamp + table + values
};

/// Sends commands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Commands {
    session: watch::Receiver<Option<Session>>,
    pending: PendingReplies,
    user: Arc<str>,
    ids: CommandIds,
}

impl Commands {
    /// Starts the task that keeps the connection open. The task ends with `stop`, or with an error
    /// if the broker has a topology of another version.
    #[must_use]
    pub fn start(
        uri: AMQPUri,
        ids: CommandIds,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<Result<(), amqp::topology::TopologyError>>) {
        let pending = PendingReplies::default();
        let user = Arc::from(uri.authority.userinfo.username.as_str());
        let (sender, session) = watch::channel(None);
        let sessions = BrokerSession {
            uri,
            pending: pending.clone(),
            current: sender,
            stop: stop.clone(),
        };
        let supervisor =
            tokio::spawn(async move { supervise::supervise("commands", sessions, &stop).await });
        let commands = Self {
            session,
            pending,
            user,
            ids,
        };
        (commands, supervisor)
    }

    /// Creates the ids of commands.
    #[must_use]
    pub fn ids(&self) -> &CommandIds {
        &self.ids
    }

    /// Whether the broker accepts commands at the moment.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(Session::is_open)
    }

    /// How many requests wait for a reply.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.count()
    }

    /// Publishes a command and waits for its reply, until the deadline or until it is known that no
    /// reply can arrive.
    pub async fn send(
        &self,
        envelope: Envelope,
        command: &Command,
        deadline: Instant,
        trace: &TraceContext,
    ) -> SendResult {
        let (Ok(body), Some(session)) = (command.encode(), self.session.borrow().clone()) else {
            return SendResult::NotSent;
        };
        let Some(command_id) = envelope.command_id.clone() else {
            return SendResult::NotSent;
        };
        let mut pending = self.pending.register(command_id);
        let started = Instant::now();
        let publish_span = trace.span("send ipack.commands", SpanKind::Producer);
        let wait_span = trace.span("wait for the reply", SpanKind::Internal);
        let envelope = Envelope {
            correlation_id: Some(pending.id.to_string()),
            pack_replies: true,
            reply_to: Some(session.reply_to().to_owned()),
            user_id: Some(self.user.to_string()),
            traceparent: Some(traces::traceparent(publish_span.context())),
            tracestate: traces::tracestate(publish_span.context()),
            ..envelope
        };
        let outgoing = OutgoingCommand {
            kind: command.kind(),
            body,
            properties: envelope.properties(),
            slot: pending.slot.clone(),
            span: publish_span,
        };
        if !session.send(outgoing) {
            return SendResult::NotSent;
        }
        let result = pending.wait(deadline).await;
        drop(wait_span);
        if matches!(result, SendResult::Replied(_)) {
            metrics::replied(started.elapsed());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use proto::CommandId;

    use super::*;

    #[test]
    fn the_bound_on_the_properties_counts_all_of_them() {
        let text = || Some("text".to_owned());
        let properties = Envelope {
            command_id: CommandId::new("id").ok(),
            correlation_id: text(),
            reply_to: text(),
            pack_replies: true,
            subject: text(),
            user_id: text(),
            app_id: text(),
            traceparent: text(),
            tracestate: text(),
            timestamp: Some(1),
            kind: text(),
            content_type: text(),
            content_encoding: text(),
            priority: Some(1),
        }
        .properties();

        let short_strings = [
            properties.content_type(),
            properties.content_encoding(),
            properties.correlation_id(),
            properties.reply_to(),
            properties.expiration(),
            properties.message_id(),
            properties.kind(),
            properties.user_id(),
            properties.app_id(),
            properties.cluster_id(),
        ];
        assert_eq!(short_strings.into_iter().flatten().count(), SHORT_STRINGS);
        let headers = properties.headers().as_ref();
        assert_eq!(headers.map(|it| it.inner().len()), Some(HEADERS));
        assert_eq!(*properties.priority(), None);
    }
}
