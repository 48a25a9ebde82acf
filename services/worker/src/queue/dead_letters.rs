//! Moves dead-lettered commands from `.dead` to `.parked`, as redacted copies, without applying them. Such a
//! command has expired, or it has ended the connection or the process of a worker each time it was delivered.
//!
//! It uses a connection of its own, so that a message that ends this connection does not stop the consumer of
//! commands. If a message can't be moved within a few deliveries, the broker moves it to `.unreadable`.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lapin::{
    Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use proto::{
    CommandId, Envelope, Outcome,
    amqp::topology::{self, TopologyError},
};
use runtime::broker::{self, BrokerError, within_deadline};
use runtime::traces::trace_id;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{MAX_BODY_BYTES, death::DeathReason};
use crate::{
    failpoint, metrics,
    publish::{
        Publisher,
        parking::{ParkedCopy, catch_panic},
    },
};

/// The shortest pause after a session.
const MIN_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker cancelled the consumer of dead letters")]
    Ended,
}

/// Moves dead letters until `stop`. Opens a new connection after each error.
pub async fn run(uri: AMQPUri, publisher: Publisher, stop: CancellationToken) {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        let started = Instant::now();
        let result = stop
            .run_until_cancelled(Box::pin(session(&uri, &publisher)))
            .await;
        let (was_open, error) = match result {
            None => return,
            Some(Ok(error)) => (true, error),
            Some(Err(error)) => (false, error),
        };
        tracing::warn!(%error, "dead letters can't be moved now; trying again");
        if was_open || started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        // The pauses have no end; the default is never used.
        let duration = pauses.next().unwrap_or(broker::DEADLINE);
        let _ = stop
            .run_until_cancelled(sleep(duration.max(MIN_PAUSE)))
            .await;
    }
}

/// Runs one session. Returns `Ok` with the error that ended it if it was able to consume, and `Err` if it was
/// not.
async fn session(uri: &AMQPUri, publisher: &Publisher) -> Result<SessionError, SessionError> {
    let name = "connector-details-worker dead letters";
    let connection = broker::connect_to_consume(uri, name, MAX_BODY_BYTES, None).await?;
    let result = consume(&connection, publisher).await;
    broker::close(&connection).await;
    result
}

async fn consume(
    connection: &Connection,
    publisher: &Publisher,
) -> Result<SessionError, SessionError> {
    let channel = within_deadline(connection.create_channel()).await?;
    tokio::time::timeout(broker::DEADLINE, topology::declare(&channel))
        .await
        .map_err(|_| BrokerError::Deadline)??;
    within_deadline(channel.basic_qos(1, BasicQosOptions::default())).await?;
    let mut consumer = within_deadline(channel.basic_consume(
        topology::DEAD.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    ))
    .await?;
    while let Some(delivery) = consumer.next().await {
        let moved = match delivery {
            Ok(delivery) => move_one(&delivery, publisher).await,
            Err(error) => Err(BrokerError::from(error).into()),
        };
        if let Err(error) = moved {
            return Ok(error);
        }
    }
    Ok(SessionError::Ended)
}

async fn move_one(delivery: &Delivery, publisher: &Publisher) -> Result<(), SessionError> {
    let properties = &delivery.properties;
    let envelope = catch_panic("reading a dead letter", || Envelope::read(properties));
    // `None` is logged as an error. The message is still parked, without its properties.
    let envelope = envelope.unwrap_or_default();
    if failpoint::breaks_dead_letters(&envelope) {
        return Err(SessionError::Ended);
    }
    let reason = DeathReason::of(properties);
    let error = reason.error();
    let copy = ParkedCopy {
        // If `.parked` is full, this task waits until there is room. No other command waits for this task.
        required: true,
        ..ParkedCopy::new(&envelope, &error, &delivery.data)
    };
    publisher.park(copy).await;
    metrics::dead_letter(reason);
    log(&envelope, reason);
    if reason == DeathReason::Expired {
        // Only an expired command is certain to be not applied. A command that was delivered too often may
        // have been applied, so its publisher has to query the ledger.
        publisher.reply(&envelope, Outcome::refused(error));
    }
    within_deadline(delivery.ack(BasicAckOptions::default())).await?;
    Ok(())
}

fn log(envelope: &Envelope, reason: DeathReason) {
    let id = envelope.command_id.as_ref().map(CommandId::as_str);
    let trace = trace_id(envelope.traceparent.as_deref());
    if reason == DeathReason::Expired {
        tracing::warn!(
            command.id = id,
            trace.id = trace,
            reason = reason.as_str(),
            "a command expired and is parked"
        );
    } else {
        tracing::error!(
            command.id = id,
            trace.id = trace,
            reason = reason.as_str(),
            "a command was dead-lettered by the broker and is parked"
        );
    }
}
