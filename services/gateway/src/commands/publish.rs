//! Publishes one command and waits for its publisher confirm.

use std::time::Instant;

use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use proto::{Kind, amqp::topology};
use runtime::{
    broker::{BrokerError, within_deadline},
    traces::Span,
};

use super::{
    frame::content_header_bytes,
    pending::{ReplySlot, SendEvent},
};
use crate::metrics;

/// A command that is ready to be published.
#[derive(Debug)]
pub(crate) struct OutgoingCommand {
    pub kind: Kind,
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    /// Notifies the request that waits for the outcome.
    pub slot: ReplySlot,
    /// Ends when the broker has confirmed or rejected the message.
    pub span: Span,
}

/// How the publish of a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishEnd {
    /// The broker confirmed, rejected or returned the message, or the connection failed.
    Known,
    /// No confirm arrived in time: messages on this channel may be lost.
    TimedOut,
}

/// Publishes one command and waits for its confirm. The caller must not cancel this future: it would
/// not be known whether a partly written message arrived.
pub(crate) async fn publish(
    channel: Channel,
    frame_max: usize,
    command: OutgoingCommand,
) -> PublishEnd {
    let OutgoingCommand {
        kind,
        body,
        properties,
        slot,
        mut span,
    } = command;
    if slot.is_abandoned() {
        return PublishEnd::Known;
    }
    if content_header_bytes(&properties).is_none_or(|bytes| bytes > frame_max) {
        tracing::error!("a command was not sent: its properties do not fit into one frame");
        span.fail("too large");
        slot.notify(SendEvent::TooLarge);
        return PublishEnd::Known;
    }
    let started = Instant::now();
    let publishing = publish_and_confirm(&channel, kind, &body, properties);
    let (failure, end) = match within_deadline(publishing).await {
        Ok(failure) => (failure, PublishEnd::Known),
        // The message was in the socket's buffer, so a part of it may have reached the broker.
        Err(BrokerError::Amqp(_)) => (Some(SendEvent::Lost), PublishEnd::Known),
        Err(BrokerError::Deadline) => (Some(SendEvent::Lost), PublishEnd::TimedOut),
    };
    let outcome = match &failure {
        None => "confirmed",
        Some(SendEvent::QueueFull) => "queue full",
        Some(SendEvent::Unroutable) => "unroutable",
        Some(_) => "lost",
    };
    metrics::published(outcome, started.elapsed());
    match failure {
        None => slot.confirm(),
        Some(failure) => {
            span.fail(outcome);
            slot.notify(failure);
        }
    }
    end
}

/// Returns `None` if the broker has stored the message, and otherwise why it did not.
async fn publish_and_confirm(
    channel: &Channel,
    kind: Kind,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<Option<SendEvent>> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let confirm = channel
        .basic_publish(
            topology::COMMANDS.into(),
            kind.routing_key().into(),
            options,
            body,
            properties,
        )
        .await?;
    Ok(match confirm.await? {
        Confirmation::Ack(None) => None,
        // A `mandatory` message without a queue to go to is confirmed and returned.
        Confirmation::Ack(Some(_)) | Confirmation::NotRequested => Some(SendEvent::Unroutable),
        Confirmation::Nack(_) => Some(SendEvent::QueueFull),
    })
}
