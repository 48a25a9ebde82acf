//! Moves what the broker gave up on from `.dead` to `.parked`, redacted, without running the
//! handler: whatever is there has killed a worker again and again.

use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use proto::{
    Envelope, Fault,
    broker::{BrokerError, within_deadline},
    parked, topology,
};

use telemetry::traces::trace_id;

use crate::{answers::Answers, metrics};

/// Runs until the channel is gone; the session that owns the channel starts it again.
pub(crate) async fn move_to_parked(channel: Channel, answers: Answers) {
    if let Err(error) = consume(&channel, &answers).await {
        tracing::warn!(%error, "dead letters are not moved at the moment");
    }
}

async fn consume(channel: &Channel, answers: &Answers) -> Result<(), BrokerError> {
    within_deadline(channel.basic_qos(1, BasicQosOptions::default())).await?;
    let mut consumer = within_deadline(channel.basic_consume(
        topology::DEAD.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    ))
    .await?;
    while let Some(delivery) = consumer.next().await {
        move_one(&delivery?, answers).await?;
    }
    Ok(())
}

async fn move_one(delivery: &Delivery, answers: &Answers) -> Result<(), BrokerError> {
    let envelope = Envelope::read(&delivery.properties);
    let body = parked::redacted(&delivery.data);
    let fault = Fault::internal();
    let properties = parked::properties(&envelope, &fault, delivery.data.len());
    answers.park_surely(&body, properties).await;
    metrics::dead_letter();
    tracing::error!(
        command.id = envelope.command_id.as_ref().map(proto::CommandId::as_str),
        trace.id = trace_id(envelope.traceparent.as_deref()),
        "a command was delivered too often and is parked"
    );
    within_deadline(delivery.ack(BasicAckOptions::default()))
        .await
        .map(drop)
}
