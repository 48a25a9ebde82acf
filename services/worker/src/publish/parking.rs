//! Parks commands that no worker can apply: publishes a redacted copy to `.parked`.
//!
//! Making the copy must not fail, whatever the message contains. If the body can't be redacted, the copy has
//! no body.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use lapin::{BasicProperties, Channel};
use proto::{
    CommandError, Envelope, ErrorCode,
    amqp::{
        parked,
        topology::{self, PARKED_BODY_BYTES},
    },
};
use runtime::broker::{
    self, BrokerError,
    publish::{DEFAULT_EXCHANGE, Message, PublishError, publish_confirmed},
};
use tokio::{sync::watch, time::sleep};

use crate::{failpoint, metrics};

/// Publishes to `.parked`. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Parking {
    channel: watch::Receiver<Option<Channel>>,
    /// The last known number of parked messages.
    parked: Arc<AtomicU32>,
}

/// Why a message is not known to be in `.parked`.
#[derive(Debug, thiserror::Error)]
enum NotParked {
    #[error("no connection to the broker")]
    Disconnected,
    /// The connection was lost, or the broker did not confirm in time. The message may be in the queue.
    #[error(transparent)]
    Broker(BrokerError),
    #[error("the queue of parked messages is full")]
    Full,
    #[error("the queue of parked messages does not exist")]
    NoQueue,
}

impl From<PublishError> for NotParked {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Broker(error) => Self::Broker(error),
            PublishError::Refused => Self::Full,
            PublishError::Returned | PublishError::NotConfirmed => Self::NoQueue,
        }
    }
}

pub(super) fn channel() -> (watch::Sender<Option<Channel>>, Parking) {
    let (sender, channel) = watch::channel(None);
    let parked = Arc::default();
    (sender, Parking { channel, parked })
}

impl Parking {
    /// The number of parked messages, for the task that updates it.
    pub fn count(&self) -> Arc<AtomicU32> {
        self.parked.clone()
    }

    /// After an error the message may or may not be in the queue, so it has to be parked again.
    async fn publish(&self, body: &[u8], properties: BasicProperties) -> Result<(), NotParked> {
        let channel = self
            .channel
            .borrow()
            .clone()
            .ok_or(NotParked::Disconnected)?;
        let message = Message {
            exchange: DEFAULT_EXCHANGE,
            routing_key: topology::PARKED,
            mandatory: true,
            body,
            properties,
        };
        publish_confirmed(&channel, message).await?;
        self.parked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Parks a message, and retries until it succeeds. Drop the future to cancel it.
    ///
    /// If many messages are parked already, the copy has no body. If `.parked` is full, a copy that is not
    /// required is not parked: its delivery would stay unacknowledged, and in the end no other command would
    /// be delivered.
    pub async fn park(&self, mut copy: ParkedCopy) {
        let mut was_refused = false;
        for pause in broker::backoff() {
            if self.parked.load(Ordering::Relaxed) >= topology::PARKED_WITH_BODY {
                copy.body.clear();
            }
            match self.publish(&copy.body, copy.properties.clone()).await {
                Ok(()) => return,
                // The first message on a channel is also refused while the queue has no leader. So only a second
                // refusal means that the queue is full.
                Err(NotParked::Full) if !was_refused => was_refused = true,
                Err(NotParked::Full) if !copy.body.is_empty() => {
                    copy.body.clear();
                    continue;
                }
                Err(NotParked::Full) if !copy.required => {
                    let id = copy.properties.message_id().as_ref();
                    tracing::error!(
                        command.id = id.map(lapin::types::ShortString::as_str),
                        "the queue of parked messages is full; a refused command is not parked"
                    );
                    metrics::not_parked();
                    return;
                }
                Err(error) => tracing::warn!(%error, "a message is not parked yet"),
            }
            sleep(pause).await;
        }
    }
}

/// The redacted copy of a message.
#[derive(Debug, Clone)]
pub(crate) struct ParkedCopy {
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    /// Whether to wait if `.parked` is full. A valid command must not be lost. An invalid one may be: its
    /// publisher got a reply with the errors.
    pub required: bool,
}

impl ParkedCopy {
    /// Redacts a message. Its headers say why it is parked: `error` is the first error of the command.
    pub fn new(envelope: &Envelope, error: &CommandError, body: &[u8]) -> Self {
        let redacted = catch_panic("redacting a message", || {
            failpoint::while_redacting(envelope);
            parked::redacted(body)
        });
        let properties = catch_panic("describing a parked message", || {
            parked::properties(envelope, error, body.len())
        });
        Self {
            // Without a body if redacting panicked, which is logged, or if the body is too large.
            body: redacted
                .filter(|body| body.len() <= PARKED_BODY_BYTES)
                .unwrap_or_default(),
            properties: properties
                .unwrap_or_else(|| parked::properties(&Envelope::default(), error, body.len())),
            required: error.code == ErrorCode::InternalServerError,
        }
    }
}

/// Runs code that reads bytes of other services. `None` if it panicked, which is logged as an error.
pub(crate) fn catch_panic<T>(action: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(run));
    if result.is_err() {
        tracing::error!("{action} panicked; this is a bug of the worker");
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::*;

    #[test]
    fn a_message_with_a_body_that_is_too_large_is_parked_without_it() {
        // A backslash takes two bytes in a JSON string.
        let copy = |backslashes: usize| {
            let padding = "\\".repeat(backslashes);
            let details = format!(r#"{{"baseURL":"https://base.url","n":"{padding}"}}"#);
            let body = serde_json::json!({
                "envId": "e".repeat(255),
                "processId": "p".repeat(255),
                "oauthConnectorDetails": details,
            });
            let body = body.to_string();
            ParkedCopy::new(
                &Envelope::default(),
                &CommandError::forbidden(),
                body.as_bytes(),
            )
        };

        let (small, large) = (copy(60_000), copy(65_400));

        assert!(small.body.len() > 120_000 && small.body.len() <= PARKED_BODY_BYTES);
        assert!(large.body.is_empty());
    }

    #[test]
    fn only_the_copy_of_a_valid_command_is_required() {
        let copy = |error: &CommandError| ParkedCopy::new(&Envelope::default(), error, b"{}");

        assert!(!copy(&CommandError::forbidden()).required);
        assert!(copy(&CommandError::internal()).required);
    }

    #[test]
    fn an_unreadable_body_is_parked_empty_with_the_reason_as_a_header() {
        let error = CommandError::undecodable(Some("body"), "not JSON");

        let copy = ParkedCopy::new(&Envelope::default(), &error, b"not JSON");

        assert!(copy.body.is_empty());
        let headers = copy.properties.headers().clone().unwrap_or_default();
        let reason = headers.inner().get(parked::REASON).cloned();
        assert_eq!(reason, Some(AMQPValue::LongString("BAD_REQUEST".into())));
    }

    #[tokio::test]
    async fn without_a_connection_a_message_is_not_parked() {
        let (sender, parking) = channel();
        let result = parking.publish(b"", BasicProperties::default()).await;

        assert!(matches!(result, Err(NotParked::Disconnected)));
        assert_eq!(parking.count().load(Ordering::Relaxed), 0);
        drop(sender);
    }

    #[test]
    fn a_panic_is_caught() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let none: Option<()> = catch_panic("a test", || panic!("as the test says"));
        std::panic::set_hook(hook);

        assert!(none.is_none());
    }
}
