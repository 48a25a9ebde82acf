//! The outbox relay: publishes the events of committed changes, at least once and in order for each record.
//!
//! It reads the oldest rows of the outbox, publishes their events, waits until the broker has confirmed all of
//! them, and deletes the rows. Only one relay may publish at a time, or the order would be lost. So the relay
//! of each worker first takes an advisory lock in the database.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use lapin::{
    BasicProperties, Channel, PublisherConfirm,
    types::{AMQPValue, FieldTable},
};
use proto::amqp::{
    envelope::{CONTENT_TYPE, since_epoch},
    topology,
};
use runtime::broker::{
    BrokerError,
    publish::{Message, PublishError, confirmed, publish},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Publisher;
use crate::{
    failpoint, metrics,
    store::{OutboxRow, PendingEvent, Store, StoreError},
};

/// The most rows that are read at once. They have a few hundred events.
const MAX_ROWS: i64 = 8;
/// If the last rows had more bytes than this, only one row is read next.
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// The most unconfirmed events, and the most bytes of them.
const MAX_UNCONFIRMED: usize = 500;
const MAX_UNCONFIRMED_BYTES: usize = 4 * 1024 * 1024;
/// Pause between two rounds. Without it, publishing the events of a batch would cost as much as storing it.
const ROUND_PAUSE: Duration = Duration::from_millis(25);
/// How long a relay keeps the lock while the outbox is empty, and the pause before a retry.
const IDLE: Duration = Duration::from_millis(250);
/// How often to read the outbox without a wake-up. A worker that died may have left rows there.
const POLL_PERIOD: Duration = Duration::from_secs(5);
const PERSISTENT: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the broker refused an event")]
    Refused,
    #[error("no connection to the broker")]
    Disconnected,
    #[error("publishing events panicked; this is a bug of the worker")]
    Panicked,
    #[error("an event can't be serialised: {0}")]
    Serialize(#[from] serde_json::Error),
}

impl From<PublishError> for RelayError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Broker(error) => Self::Broker(error),
            PublishError::Refused | PublishError::Returned | PublishError::NotConfirmed => {
                Self::Refused
            }
        }
    }
}

/// Publishes the events of the outbox until `stop`, and then once more.
pub async fn relay(store: Store, publisher: Publisher, stop: CancellationToken) {
    let mut relay = OutboxRelay {
        store,
        publisher,
        state: State::Unlocked,
        woken: false,
    };
    loop {
        let last = stop.is_cancelled();
        let round = AssertUnwindSafe(relay.round()).catch_unwind();
        if let Err(error) = round.await.unwrap_or(Err(RelayError::Panicked)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events can't be published now; they are kept in the outbox"
            );
            relay.state = State::Retry;
        }
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = relay.wait() => {}
        }
    }
}

struct OutboxRelay {
    store: Store,
    publisher: Publisher,
    state: State,
    /// Whether this worker has written to the outbox since the last time that it was empty.
    woken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Another relay may hold the lock.
    Unlocked,
    /// This relay holds the lock.
    Locked,
    /// The last round failed, or another relay has the lock while this worker's events wait. This relay may or
    /// may not hold the lock.
    Retry,
}

impl OutboxRelay {
    /// Waits until there may be an event to publish.
    async fn wait(&mut self) {
        sleep(ROUND_PAUSE).await;
        let period = match self.state {
            State::Unlocked => POLL_PERIOD,
            State::Locked | State::Retry => IDLE,
        };
        let woken = timeout(period, self.store.outbox_written()).await.is_ok();
        self.woken |= woken;
        if !woken && self.state == State::Locked {
            if let Err(error) = self.store.unlock_outbox().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the lock of the outbox can't be released now; it is released when its connection ends"
                );
            }
            self.state = State::Unlocked;
        }
    }

    /// Publishes all events in the outbox, unless another relay has the lock.
    async fn round(&mut self) -> Result<(), RelayError> {
        let mut max_rows = 1;
        if self.state != State::Locked {
            if !self.store.lock_outbox().await? {
                self.state = if self.woken {
                    State::Retry
                } else {
                    State::Unlocked
                };
                return Ok(());
            }
            self.state = State::Locked;
        }
        loop {
            let rows = self.store.oldest_outbox_rows(max_rows).await?;
            if rows.is_empty() {
                self.woken = false;
                return Ok(());
            }
            self.publish(&rows).await?;
            let bytes: usize = rows.iter().map(OutboxRow::bytes).sum();
            max_rows = if bytes > LARGE_BYTES { 1 } else { MAX_ROWS };
        }
    }

    async fn publish(&self, rows: &[OutboxRow]) -> Result<(), RelayError> {
        let channel = self.publisher.events().ok_or(RelayError::Disconnected)?;
        let (mut unconfirmed, mut bytes, mut published) = (Vec::new(), 0, 0);
        for event in rows.iter().flat_map(|row| &row.events) {
            unconfirmed.push(send(&channel, event).await?);
            bytes += event.bytes();
            published += 1;
            if unconfirmed.len() == MAX_UNCONFIRMED || bytes > MAX_UNCONFIRMED_BYTES {
                confirmed(unconfirmed.drain(..)).await?;
                bytes = 0;
            }
        }
        confirmed(unconfirmed).await?;
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        self.store.delete_outbox_rows(&seqs).await?;
        metrics::published(published);
        Ok(())
    }
}

async fn send(channel: &Channel, event: &PendingEvent) -> Result<PublisherConfirm, RelayError> {
    failpoint::before_publishing(&event.event);
    let body = event.event.encode()?;
    let message = Message {
        exchange: topology::EVENTS,
        routing_key: event.event.routing_key(),
        // It is not an error if no queue receives an event: the event has no subscriber then.
        mandatory: false,
        body: &body,
        properties: properties(event),
    };
    Ok(publish(channel, message).await?)
}

fn properties(PendingEvent { event, traceparent }: &PendingEvent) -> BasicProperties {
    let mut headers = FieldTable::default();
    if let Some(traceparent) = traceparent {
        let value = AMQPValue::LongString(traceparent.as_str().into());
        headers.insert("traceparent".into(), value);
    }
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(event.id().into())
        .with_type(event.kind().into())
        .with_content_type(CONTENT_TYPE.into())
        .with_timestamp(since_epoch().as_secs())
        .with_app_id("connector-details-worker".into())
        .with_headers(headers)
}
