//! Keeps a session with the broker open.
//!
//! One session owns its connection, channel and reply queue, and drops all of them at the first
//! error. The reply queue is exclusive to the connection, so replies are lost with it, and the
//! requests that wait are notified at once. (Direct reply-to was measured as an alternative: as fast
//! with many callers, 8 % slower with one, and twice the p99 with one caller.)

use lapin::{
    Channel, Connection, Consumer,
    options::{BasicConsumeOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use proto::amqp::{
    envelope::REPLY_QUEUES,
    topology::{self, TopologyError},
};
use runtime::{
    broker::{self, BrokerError, within_deadline},
    queue_depth::{self, Labelled},
    supervise::{self, Next},
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    pending::PendingReplies,
    session::{Session, SessionError, SessionTask},
};

/// The queue whose depth is a metric. If the queue does not exist, no command can be published.
const QUEUES: &[Labelled] = &[("commands", topology::QUEUE)];

/// Everything that a session with the broker needs.
pub(crate) struct BrokerSession {
    pub uri: AMQPUri,
    pub pending: PendingReplies,
    /// The handle to the session while it is open.
    pub current: watch::Sender<Option<Session>>,
    pub stop: CancellationToken,
}

impl supervise::Session for BrokerSession {
    type Error = SessionError;
    type Fatal = TopologyError;

    async fn run(&mut self) -> Next<SessionError, TopologyError> {
        match self.run_until_stop().await {
            Ok(()) => Next::Stop,
            Err(SessionError::Topology(error)) if error.is_mismatch() => Next::Fail(error),
            Err(error) => Next::Retry(error),
        }
    }

    fn log_failure(&self, _: &'static str, error: &SessionError) {
        tracing::warn!(%error, "no connection to the broker; trying again");
    }
}

impl BrokerSession {
    async fn run_until_stop(&self) -> Result<(), SessionError> {
        let connection = broker::connect(&self.uri, "connector-details-gateway").await?;
        let reply_to = format!("{REPLY_QUEUES}{}", Uuid::new_v4().simple());
        let (channel, replies) = open(&connection, &reply_to).await?;
        let (session, mut task) = SessionTask::new(channel, replies, reply_to, &self.pending);
        self.current.send_replace(Some(session));
        tracing::info!("connected to the broker");
        let result = tokio::select! {
            result = task.run(&connection, &self.stop) => result,
            never = queue_depth::watch(&connection, QUEUES) => match never {},
        };
        self.current.send_replace(None);
        task.fail_pending();
        broker::close(&connection).await;
        result
    }
}

async fn open(
    connection: &Connection,
    reply_to: &str,
) -> Result<(Channel, Consumer), SessionError> {
    let channel = channel_with_topology(connection).await?;
    within_deadline(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    // The reply queue must exist before the first command is published, or its reply is lost.
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    within_deadline(channel.queue_declare(reply_to.into(), exclusive, FieldTable::default()))
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let replies = within_deadline(channel.basic_consume(
        reply_to.into(),
        "".into(),
        options,
        FieldTable::default(),
    ))
    .await?;
    Ok((channel, replies))
}

/// Opens a channel and declares the topology. If the gateway has no permission to declare, the
/// topology must exist already, declared by a worker.
async fn channel_with_topology(connection: &Connection) -> Result<Channel, SessionError> {
    let channel = within_deadline(connection.create_channel()).await?;
    match timeout(broker::DEADLINE, topology::declare(&channel)).await {
        Ok(Ok(())) => return Ok(channel),
        Ok(Err(error)) if error.is_refused() => {}
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(BrokerError::Deadline.into()),
    }
    // The broker closed the first channel when it denied the declaration.
    let channel = within_deadline(connection.create_channel()).await?;
    timeout(broker::DEADLINE, topology::check(&channel))
        .await
        .map_err(|_| BrokerError::Deadline)??;
    Ok(channel)
}
