//! Moves dead-lettered commands from `.dead` to `.parked`, as redacted copies, without applying them. Such a
//! command has expired, or it has ended the connection or the process of a worker each time it was delivered.
//!
//! It uses a connection of its own, so that a message that ends this connection does not stop the consumer of
//! commands. If a message can't be moved within a few deliveries, the broker moves it to `.unreadable`.

use std::convert::Infallible;

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
use runtime::{
    broker::{self, BrokerError, within_deadline},
    supervise::{Next, Session, supervise},
    traces::trace_id,
};
use tokio_util::sync::CancellationToken;

use super::{MAX_BODY_BYTES, death::DeathReason};
use crate::{
    failpoint, metrics,
    publish::{
        Publisher,
        parking::{ParkedCopy, catch_panic},
    },
};

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
    let session = DeadLetterSession {
        uri,
        publisher,
        stop: stop.clone(),
    };
    let Ok(()) = supervise("dead letters", session, &stop).await;
}

struct DeadLetterSession {
    uri: AMQPUri,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Session for DeadLetterSession {
    type Error = SessionError;
    type Fatal = Infallible;

    async fn run(&mut self) -> Next<SessionError, Infallible> {
        let session = Box::pin(session(&self.uri, &self.publisher));
        match self.stop.run_until_cancelled(session).await {
            None => Next::Stop,
            Some(error) => Next::Retry(error),
        }
    }
}

/// Runs one session. Returns the error that ended it.
async fn session(uri: &AMQPUri, publisher: &Publisher) -> SessionError {
    let name = "connector-details-worker dead letters";
    let connection = match broker::connect_to_consume(uri, name, MAX_BODY_BYTES, None).await {
        Ok(connection) => connection,
        Err(error) => return error.into(),
    };
    let result = consume(&connection, publisher).await;
    broker::close(&connection).await;
    result.err().unwrap_or(SessionError::Ended)
}

/// Moves dead letters until the broker cancels the consumer.
async fn consume(connection: &Connection, publisher: &Publisher) -> Result<(), SessionError> {
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
        move_one(&delivery.map_err(BrokerError::from)?, publisher).await?;
    }
    Ok(())
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
