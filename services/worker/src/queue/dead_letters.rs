//! Moves what the broker gave up on from `.dead` to `.parked`, redacted, without running the
//! handler: whatever is there has ended the connection, or the process, of a worker again and again,
//! or has expired.
//!
//! On a connection of its own, whose end is nobody else's. What can't be moved in a few deliveries, the
//! broker moves to `.unreadable`.

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
    Envelope, Outcome,
    amqp::topology::{self, TopologyError},
};
use runtime::broker::{self, BrokerError, within_deadline};
use runtime::traces::trace_id;
use tokio_util::sync::CancellationToken;

use super::{MAX_BODY_BYTES, death::DeathReason};
use crate::{
    failpoint, metrics,
    publish::{
        Publisher,
        parking::{ParkedCopy, contained},
    },
};

/// How long to wait after a session that was open and broke.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
enum NotMoved {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("the broker ended the consumer of dead letters")]
    Ended,
}

/// Moves dead letters until `stop`, through as many connections as it takes.
pub async fn run(uri: AMQPUri, publisher: Publisher, stop: CancellationToken) {
    let mut pauses = broker::backoff();
    while !stop.is_cancelled() {
        let started = Instant::now();
        let result = stop.run_until_cancelled(session(&uri, &publisher)).await;
        let (was_open, error) = match result {
            None => return,
            Some(Ok(error)) => (true, error),
            Some(Err(error)) => (false, error),
        };
        tracing::warn!(%error, "dead letters are not moved at the moment; trying again");
        if was_open || started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        let pause = pauses.next().unwrap_or(broker::DEADLINE).max(PAUSE);
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// A session that was open ends with what ended it.
async fn session(uri: &AMQPUri, publisher: &Publisher) -> Result<NotMoved, NotMoved> {
    let name = "connector-details-worker dead letters";
    let connection = broker::connect_to_consume(uri, name, MAX_BODY_BYTES, None).await?;
    let result = consume(&connection, publisher).await;
    broker::close(&connection).await;
    result
}

async fn consume(connection: &Connection, publisher: &Publisher) -> Result<NotMoved, NotMoved> {
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
    Ok(NotMoved::Ended)
}

async fn move_one(delivery: &Delivery, publisher: &Publisher) -> Result<(), NotMoved> {
    let properties = &delivery.properties;
    let envelope = contained("reading a dead letter", || Envelope::read(properties));
    let envelope = envelope.unwrap_or_default();
    if failpoint::cannot_be_moved(&envelope) {
        return Err(NotMoved::Ended);
    }
    let reason = DeathReason::of(properties);
    let fault = reason.fault();
    let copy = ParkedCopy {
        // A place in `.parked` is waited for here, where nobody else has to wait for it.
        may_be_left_out: false,
        ..ParkedCopy::of(&envelope, &fault, &delivery.data)
    };
    publisher.park(copy).await;
    metrics::dead_letter(reason);
    tell(&envelope, reason);
    if reason == DeathReason::Expired {
        // What was delivered too often may have been applied all the same; its publisher finds that in
        // the ledger, and is not told otherwise.
        publisher.reply(&envelope, Outcome::refused(fault));
    }
    within_deadline(delivery.ack(BasicAckOptions::default())).await?;
    Ok(())
}

fn tell(envelope: &Envelope, reason: DeathReason) {
    let id = envelope.command_id.as_ref().map(proto::CommandId::as_str);
    let trace = trace_id(envelope.traceparent.as_deref());
    let reason = reason.as_str();
    if reason == DeathReason::Expired.as_str() {
        tracing::warn!(
            command.id = id,
            trace.id = trace,
            reason,
            "a command expired and is parked"
        );
    } else {
        tracing::error!(
            command.id = id,
            trace.id = trace,
            reason,
            "a command was given up by the broker and is parked"
        );
    }
}
