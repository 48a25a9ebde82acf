//! Publishes the events of rows of the outbox, and waits until the broker has confirmed all of them.

use std::collections::HashMap;

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

use crate::{
    failpoint, metrics,
    store::{OutboxRow, PendingEvent},
};

/// The most unconfirmed events, and the most bytes of them.
const MAX_UNCONFIRMED: usize = 500;
const MAX_UNCONFIRMED_BYTES: usize = 4 * 1024 * 1024;
/// How often in a row events may be refused. After that they count as published: a queue that is full and refuses
/// messages must not keep the events from all other queues.
const MAX_REFUSALS: u32 = 8;
const PERSISTENT: u8 = 2;

/// The events are not known to be in all queues of their subscribers.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the broker refused an event")]
    Refused,
    #[error("no queue is bound for an event")]
    Returned,
    #[error("an event can't be serialised: {0}")]
    Serialize(#[from] serde_json::Error),
}

impl From<PublishError> for EventError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Broker(error) => Self::Broker(error),
            PublishError::Returned => Self::Returned,
            PublishError::Refused | PublishError::NotConfirmed => Self::Refused,
        }
    }
}

/// Publishes events, and remembers how often the broker refused them.
#[derive(Debug, Default)]
pub(super) struct EventPublisher {
    /// How often in a row the broker has refused events. More than [`MAX_REFUSALS`]: they count as published.
    refusals: u32,
}

impl EventPublisher {
    /// Publishes the events of these rows, in their order. After an error some of them may be published.
    ///
    /// The first event of each kind is mandatory: if the broker returns it, no queue is bound for its kind, and
    /// the other events of that kind are not published. Measured: docs/performance.md.
    pub async fn publish(
        &mut self,
        channel: &Channel,
        rows: &[OutboxRow],
    ) -> Result<(), EventError> {
        let (mut unconfirmed, mut bytes, mut published) = (Vec::new(), 0, 0);
        let mut is_refused = false;
        let mut has_queue = HashMap::new();
        for event in rows.iter().flat_map(|row| &row.events) {
            let kind = event.event.kind();
            let confirm = match has_queue.get(kind) {
                Some(false) => continue,
                Some(true) => send(channel, event, false).await?,
                None => {
                    // lapin would attach a returned event to the confirm of an earlier one.
                    is_refused |= self.are_refused(std::mem::take(&mut unconfirmed)).await?;
                    bytes = 0;
                    let confirm = send(channel, event, true).await?;
                    match self.are_refused(vec![confirm]).await {
                        Err(EventError::Returned) => {
                            has_queue.insert(kind, false);
                        }
                        refused => {
                            is_refused |= refused?;
                            // A queue was bound, perhaps only now. So ask again for the other kind.
                            has_queue.retain(|_, bound| *bound);
                            has_queue.insert(kind, true);
                            published += 1;
                        }
                    }
                    continue;
                }
            };
            unconfirmed.push(confirm);
            bytes += event.bytes();
            published += 1;
            if unconfirmed.len() == MAX_UNCONFIRMED || bytes > MAX_UNCONFIRMED_BYTES {
                is_refused |= self.are_refused(std::mem::take(&mut unconfirmed)).await?;
                bytes = 0;
            }
        }
        is_refused |= self.are_refused(unconfirmed).await?;
        if published > 0 && !is_refused {
            // A full queue has room for an event now and then. It must not stop the others each time.
            self.refusals = self.refusals.saturating_sub(1);
        }
        metrics::published(published);
        Ok(())
    }

    /// Waits until these events are confirmed. Returns whether one was refused, if that is no error any more.
    async fn are_refused(&mut self, events: Vec<PublisherConfirm>) -> Result<bool, EventError> {
        match confirmed(events).await.map_err(EventError::from) {
            Err(EventError::Refused) => {
                if self.refusals < MAX_REFUSALS {
                    self.refusals += 1;
                    return Err(EventError::Refused);
                }
                if self.refusals == MAX_REFUSALS {
                    self.refusals += 1;
                    tracing::error!(
                        "a queue that is bound to the exchange of events is full and refuses them; until it \
                         has room, only the other queues get events"
                    );
                }
                metrics::events_refused();
                Ok(true)
            }
            result => result.map(|()| false),
        }
    }
}

async fn send(
    channel: &Channel,
    event: &PendingEvent,
    mandatory: bool,
) -> Result<PublisherConfirm, EventError> {
    failpoint::before_publishing(&event.event);
    let body = event.event.encode()?;
    let message = Message {
        exchange: topology::EVENTS,
        routing_key: event.event.routing_key(),
        mandatory,
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
