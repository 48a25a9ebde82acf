//! Commands that no worker can apply are kept in `.parked`, as a redacted copy.
//!
//! Making the copy must not fail: whatever is in the message, it is parked, if need be without its body.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use lapin::{BasicProperties, Channel, Confirmation, options::BasicPublishOptions};
use proto::{
    CommandError, Envelope,
    amqp::{
        parked,
        topology::{self, PARKED_BODY_BYTES},
    },
};
use runtime::broker::{self, BrokerError, within_deadline};
use tokio::{sync::watch, time::sleep};

use crate::{failpoint, metrics};

const DEFAULT_EXCHANGE: &str = "";

/// Where copies are parked. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Parking {
    channel: watch::Receiver<Option<Channel>>,
    /// How many messages are parked, as far as is known.
    parked: Arc<AtomicU32>,
}

/// A message that is not known to be in the queue.
#[derive(Debug, thiserror::Error)]
enum NotParked {
    /// There is no connection at the moment.
    #[error("no connection to the broker")]
    Disconnected,
    /// The broker did not confirm.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The queue is full.
    #[error("the queue of parked messages is full")]
    Full,
    /// There is no such queue at the moment.
    #[error("there is no queue for parked messages")]
    NoQueue,
}

pub(super) fn channel() -> (watch::Sender<Option<Channel>>, Parking) {
    let (sender, channel) = watch::channel(None);
    let parked = Arc::default();
    (sender, Parking { channel, parked })
}

impl Parking {
    /// How many messages are parked, to be kept up to date.
    pub fn count(&self) -> Arc<AtomicU32> {
        self.parked.clone()
    }

    /// Whether there is a channel to publish on.
    pub fn is_open(&self) -> bool {
        self.channel.borrow().is_some()
    }

    /// An error leaves open whether the message is in the queue; parking it again is the remedy.
    async fn publish(&self, body: &[u8], properties: BasicProperties) -> Result<(), NotParked> {
        let channel = self
            .channel
            .borrow()
            .clone()
            .ok_or(NotParked::Disconnected)?;
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirmation = within_deadline(async {
            channel
                .basic_publish(
                    DEFAULT_EXCHANGE.into(),
                    topology::PARKED.into(),
                    options,
                    body,
                    properties,
                )
                .await?
                .await
        })
        .await?;
        match confirmation {
            Confirmation::Ack(None) => {
                self.parked.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Confirmation::Ack(Some(_)) | Confirmation::NotRequested => Err(NotParked::NoQueue),
            Confirmation::Nack(_) => Err(NotParked::Full),
        }
    }

    /// Parks a message, however long it takes. Given up by dropping it.
    ///
    /// Where much is parked already, only the headers are kept. Where `.parked` is full, a copy that may
    /// be left out is: to wait for a place would hold up the commands of everybody else.
    pub async fn park(&self, mut copy: ParkedCopy) {
        for pause in broker::backoff() {
            if self.parked.load(Ordering::Relaxed) >= topology::PARKED_WITH_BODY {
                copy.body.clear();
            }
            match self.publish(&copy.body, copy.properties.clone()).await {
                Ok(()) => return,
                Err(NotParked::Full) if !copy.body.is_empty() => {
                    copy.body.clear();
                    continue;
                }
                Err(NotParked::Full) if copy.may_be_left_out => {
                    let id = copy.properties.message_id().as_ref();
                    tracing::error!(
                        command.id = id.map(lapin::types::ShortString::as_str),
                        "the queue of parked messages is full: a refused command is not kept"
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

/// What is published to `.parked`.
#[derive(Debug, Clone)]
pub(crate) struct ParkedCopy {
    pub body: Vec<u8>,
    pub properties: BasicProperties,
    /// Whether this copy may be left out where `.parked` is full: its publisher was told all that is
    /// wrong with it. A command that is valid waits.
    pub may_be_left_out: bool,
}

impl ParkedCopy {
    /// The redacted body, and what is known of the message and the reason.
    pub fn of(envelope: &Envelope, fault: &CommandError, body: &[u8]) -> Self {
        let redacted = contained("redacting a message", || {
            failpoint::redact(envelope);
            parked::redacted(body)
        });
        let properties = contained("describing a parked message", || {
            parked::properties(envelope, fault, body.len())
        });
        Self {
            body: redacted
                .filter(|body| body.len() <= PARKED_BODY_BYTES)
                .unwrap_or_default(),
            properties: properties
                .unwrap_or_else(|| parked::properties(&Envelope::default(), fault, body.len())),
            may_be_left_out: fault.code != proto::ErrorCode::InternalServerError,
        }
    }
}

/// Runs something that reads foreign bytes. None: it panicked, which its caller has to make up for.
pub(crate) fn contained<T>(what: &'static str, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(run));
    if result.is_err() {
        tracing::error!("{what} panicked; this is a fault of the worker");
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_too_large_is_parked_without_it() {
        // Each backslash takes two bytes once the details are written out as a text of JSON.
        let copy = |backslashes: usize| {
            let padding = "\\".repeat(backslashes);
            let details = format!(r#"{{"baseURL":"https://base.url","n":"{padding}"}}"#);
            let body = serde_json::json!({
                "envId": "e".repeat(255),
                "processId": "p".repeat(255),
                "oauthConnectorDetails": details,
            });
            let body = body.to_string();
            ParkedCopy::of(
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
    fn a_valid_command_is_never_left_out() {
        let of = |fault: &CommandError| ParkedCopy::of(&Envelope::default(), fault, b"{}");

        assert!(of(&CommandError::forbidden()).may_be_left_out);
        assert!(!of(&CommandError::internal()).may_be_left_out);
    }

    #[test]
    fn a_panic_is_contained() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let none: Option<()> = contained("a test", || panic!("as the test says"));
        std::panic::set_hook(hook);

        assert!(none.is_none());
    }
}
