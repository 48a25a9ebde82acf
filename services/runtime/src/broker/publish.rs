//! Publishes messages and waits until the broker has confirmed them.

use futures_util::future::try_join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};

use super::{BrokerError, within_deadline};

/// The exchange that routes each message to the queue that its routing key names.
pub const DEFAULT_EXCHANGE: &str = "";

/// A message that is published.
#[derive(Debug)]
pub struct Message<'a> {
    /// The exchange, or [`DEFAULT_EXCHANGE`].
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
    /// Whether a message that no queue receives is an error. If false, the broker drops such a message
    /// and confirms it.
    pub mandatory: bool,
    /// The body.
    pub body: &'a [u8],
    /// The properties. They have to fit into one frame.
    pub properties: BasicProperties,
}

/// A message is not known to be in a queue.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The outcome is unknown: the message may be in a queue. Publish it again.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The broker sent a nack: the queue is full. The message is in no queue.
    #[error("the broker refused the message: the queue is full")]
    Refused,
    /// The broker returned the message: no queue is bound for its routing key.
    #[error("the broker returned the message: no queue receives it")]
    Returned,
    /// The channel is not in confirm mode, so that the broker says nothing. Open it with
    /// [`confirm_channel`].
    #[error("the channel is not in confirm mode")]
    NotConfirmed,
}

/// Opens a channel in confirm mode.
///
/// # Errors
/// The connection was lost, has no channel left, or gives no answer in time.
pub async fn confirm_channel(connection: &Connection) -> Result<Channel, BrokerError> {
    let channel = within_deadline(connection.create_channel()).await?;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

/// Publishes one message, and waits for its confirm.
///
/// Don't drop this future before it ends: the message may be half written then, and nothing knows
/// whether it was published.
///
/// # Errors
/// See [`PublishError`]. There is one deadline for writing the message and for its confirm.
pub async fn publish_confirmed(
    channel: &Channel,
    message: Message<'_>,
) -> Result<(), PublishError> {
    let write_and_wait = async { write(channel, message).await?.await };
    check(&within_deadline(write_and_wait).await?)
}

/// Publishes one message without waiting for its confirm, so that others can follow meanwhile. Pass
/// what it returns to [`confirmed`].
///
/// # Errors
/// The channel is closed, or the message can't be written in time.
pub async fn publish(
    channel: &Channel,
    message: Message<'_>,
) -> Result<PublisherConfirm, BrokerError> {
    within_deadline(write(channel, message)).await
}

/// Waits until all of these messages are confirmed.
///
/// # Errors
/// As [`publish_confirmed`], with one deadline for all. After an error some of them may be in a queue.
pub async fn confirmed(
    confirms: impl IntoIterator<Item = PublisherConfirm>,
) -> Result<(), PublishError> {
    let confirmations = within_deadline(try_join_all(confirms)).await?;
    confirmations.iter().try_for_each(check)
}

async fn write(channel: &Channel, message: Message<'_>) -> lapin::Result<PublisherConfirm> {
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        ..BasicPublishOptions::default()
    };
    channel
        .basic_publish(
            message.exchange.into(),
            message.routing_key.into(),
            options,
            message.body,
            message.properties,
        )
        .await
}

/// The broker confirms a mandatory message that no queue receives, too, after it has returned it.
fn check(confirmation: &Confirmation) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => Err(PublishError::Returned),
        Confirmation::Nack(_) => Err(PublishError::Refused),
        Confirmation::NotRequested => Err(PublishError::NotConfirmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ack_says_that_a_message_is_in_a_queue() {
        assert!(matches!(check(&Confirmation::Ack(None)), Ok(())));
        let refused = check(&Confirmation::Nack(None));
        assert!(matches!(refused, Err(PublishError::Refused)));
        let not_confirmed = check(&Confirmation::NotRequested);
        assert!(matches!(not_confirmed, Err(PublishError::NotConfirmed)));
    }
}
