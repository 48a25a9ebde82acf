//! Publishes one command and waits for its publisher confirm.

use std::time::Instant;

use lapin::{BasicProperties, Channel};
use proto::{Kind, amqp::topology};
use runtime::{
    broker::{
        BrokerError,
        publish::{Message, PublishError, publish_confirmed},
    },
    traces::Span,
};

use super::pending::{ReplySlot, SendResult};
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
pub(crate) async fn publish(channel: Channel, command: OutgoingCommand) -> PublishEnd {
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
    let started = Instant::now();
    let message = Message {
        exchange: topology::COMMANDS,
        routing_key: kind.routing_key(),
        mandatory: true,
        body: &body,
        properties,
    };
    let result = publish_confirmed(&channel, message).await;
    let duration = started.elapsed();
    let Err(error) = result else {
        metrics::published("confirmed", duration);
        slot.confirm();
        return PublishEnd::Known;
    };
    let (outcome, result, end) = match error {
        PublishError::Refused => ("queue full", Some(SendResult::QueueFull), PublishEnd::Known),
        PublishError::Returned => ("unroutable", Some(SendResult::NotSent), PublishEnd::Known),
        // The message was in the socket's buffer, so a part of it may have reached the broker. Without
        // confirm mode, the whole message may have.
        PublishError::NotConfirmed | PublishError::Broker(BrokerError::Amqp(_)) => {
            ("lost", None, PublishEnd::Known)
        }
        PublishError::Broker(BrokerError::Deadline) => ("lost", None, PublishEnd::TimedOut),
    };
    metrics::published(outcome, duration);
    span.fail(outcome);
    match result {
        Some(result) => slot.finish(result),
        None => slot.lose(),
    }
    end
}
