//! Announces what was committed, from the outbox: at least once, and in order for each record.
//!
//! The worker that has just committed something announces it. What a worker left behind is announced
//! by any other, a moment later; a lock in the database keeps two from doing it at once.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use proto::{
    broker::{BrokerError, within_deadline},
    envelope::{CONTENT_TYPE, since_epoch},
    topology,
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Answers,
    failpoint, metrics,
    store::{Store, StoreError, Unannounced},
};

/// Events that are published before any is known to be confirmed, at most.
const BATCH: usize = 500;
/// Between two announcements.
const TOGETHER: Duration = Duration::from_millis(25);
/// Between two looks at what others may have left behind.
const PAUSE: Duration = Duration::from_secs(5);
const PERSISTENT: u8 = 2;

#[derive(Debug, thiserror::Error)]
enum NotAnnounced {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the broker did not take an event")]
    Refused,
    #[error("no connection to the broker")]
    Disconnected,
    #[error("an event can't be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Announces whatever there is whenever `committed` says so, and from time to time, until `stop`; and
/// then once more.
pub async fn announce(
    store: Store,
    answers: Answers,
    committed: Arc<Notify>,
    stop: CancellationToken,
) {
    loop {
        let last = stop.is_cancelled();
        if let Err(error) = all(&store, &answers).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events are not announced at the moment; they are kept"
            );
        }
        if last {
            return;
        }
        let next = async {
            // A little later, and together: announcing each batch by itself costs as much as storing it.
            tokio::time::sleep(TOGETHER).await;
            let _ = timeout(PAUSE, committed.notified()).await;
        };
        let _ = stop.run_until_cancelled(next).await;
    }
}

async fn all(store: &Store, answers: &Answers) -> Result<(), NotAnnounced> {
    if !store.lock_outbox().await? {
        return Ok(());
    }
    let mut announced = 0;
    loop {
        let batch = store.unannounced(BATCH).await?;
        if !batch.is_empty() {
            let channel = answers.events().ok_or(NotAnnounced::Disconnected)?;
            publish(&channel, &batch).await?;
            let seqs: Vec<i64> = batch.iter().map(|event| event.seq).collect();
            store.announced(&seqs).await?;
            metrics::announced(batch.len());
            announced += batch.len();
        }
        if batch.len() < BATCH {
            break;
        }
    }
    // Whoever is busy keeps the lock; it is given back after a while without anything to do.
    if announced == 0 {
        store.unlock_outbox().await?;
    }
    Ok(())
}

/// Writes all of them, and waits until the broker has all of them.
async fn publish(channel: &Channel, batch: &[Unannounced]) -> Result<(), NotAnnounced> {
    let mut confirms = Vec::with_capacity(batch.len());
    for Unannounced {
        event, traceparent, ..
    } in batch
    {
        let Some(event) = event else { continue };
        failpoint::announce(event);
        let mut headers = FieldTable::default();
        if let Some(traceparent) = traceparent {
            let value = AMQPValue::LongString(traceparent.as_str().into());
            headers.insert("traceparent".into(), value);
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(event.id().into())
            .with_type(event.kind().into())
            .with_content_type(CONTENT_TYPE.into())
            .with_timestamp(since_epoch().as_secs())
            .with_app_id("connector-details-worker".into())
            .with_headers(headers);
        let body = event.encode()?;
        // Not mandatory: nobody has to listen.
        let written = channel.basic_publish(
            topology::EVENTS.into(),
            event.routing_key().into(),
            BasicPublishOptions::default(),
            &body,
            properties,
        );
        confirms.push(within_deadline(written).await?);
    }
    let confirmations = within_deadline(try_join_all(confirms)).await?;
    let taken = |confirmation: &Confirmation| matches!(confirmation, Confirmation::Ack(_));
    if confirmations.iter().all(taken) {
        Ok(())
    } else {
        Err(NotAnnounced::Refused)
    }
}
