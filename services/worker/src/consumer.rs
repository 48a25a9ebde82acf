//! Takes commands from the queue, through as many connections as it takes.
//!
//! One session owns connection, channels and consumer, and drops all of them at the first error.
//! The connection is closed first: after a cancelled consumer or a closed channel - and lapin does
//! both when they are dropped - the next worker would overtake the deliveries in hand. After a
//! closed connection it gets them first, in their old order.

use std::{
    collections::VecDeque,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
    uri::AMQPUri,
};
use proto::{
    broker::{self, BrokerError, within_deadline},
    topology::{self, TopologyError},
};
use telemetry::{queues, traces::Traces};
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Answers,
    dead,
    metrics::Oldest,
    publishers::Publishers,
    settle::{Settler, Taken, Unsettled},
    store::Store,
};

/// The most commands in one batch. Higher gains little and makes each wait for more
/// neighbours; batches form by themselves while the one before is being written.
const BATCH: usize = 400;
/// Three batches: one in the database, one to go on with, one on its way. More would be more to be
/// delivered again, and decided one by one, when a worker dies. A quorum queue allows at most 2,000.
const PREFETCH: u16 = 1200;
/// How long a batch waits for as many as came last time, or nearly; those who were just answered are
/// on their way back. A larger batch is less work for everyone, and where processors are busy that
/// makes up for the wait: 9 % more saves at 256 callers.
const GATHER: Duration = Duration::from_millis(2);
/// Who saves one after the other does not wait for anybody: less than this came last time.
const CROWD: usize = 8;
/// At the start of a process, until a command comes that was never delivered before. What was may
/// have killed the process before this one: it is taken alone, so that the commands behind it are
/// not delivered, and counted, each time with it until they reach the delivery limit too.
const PROBATION: u16 = 1;

/// What the consumer works with.
#[derive(Debug)]
pub struct Parts {
    /// The broker.
    pub uri: AMQPUri,
    /// The database.
    pub store: Store,
    /// Who may write what.
    pub publishers: Publishers,
    /// Where replies and parked commands go.
    pub answers: Answers,
    /// Told to stop.
    pub stop: CancellationToken,
    /// Whether the worker consumes, or stands by.
    pub connected: watch::Sender<bool>,
    /// Of the commands in hand.
    pub oldest: Oldest,
    /// Where spans go.
    pub traces: Traces,
}

/// Why a session ended before it was told to.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    #[error("the broker ended a consumer")]
    Ended,
}

/// How a session ended that was not broken.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As it was told to.
    Stopped,
    /// The probation is over: the next session may take more at once. A consumer's prefetch can't
    /// be changed, and a cancelled one would let others overtake.
    Trusted,
}

/// Consumes until told to stop.
///
/// # Errors
/// An exchange or a queue exists with other arguments, which no retry will change.
pub async fn run(parts: &Parts) -> Result<(), TopologyError> {
    let mut pauses = broker::backoff();
    let mut prefetch = PROBATION;
    while !parts.stop.is_cancelled() {
        let started = Instant::now();
        let result = session(parts, prefetch).await;
        if matches!(result, Ok(End::Trusted)) {
            prefetch = PREFETCH;
            continue;
        }
        parts.connected.send_replace(false);
        match result {
            Ok(_) => break,
            Err(SessionError::Topology(error)) if error.is_mismatch() => return Err(error),
            Err(SessionError::Unsettled(error @ Unsettled::Outage(_))) => {
                tracing::error!(%error, "commands go back to the broker until it is there again");
                wait_for_database(parts).await;
            }
            Err(error) => tracing::warn!(%error, "the consumer stopped; starting another"),
        }
        if started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        pause(parts, pauses.next()).await;
    }
    Ok(())
}

async fn wait_for_database(parts: &Parts) {
    for next in broker::backoff() {
        if parts.stop.is_cancelled() || parts.store.ping().await.is_ok() {
            return;
        }
        pause(parts, Some(next)).await;
    }
}

async fn pause(parts: &Parts, pause: Option<Duration>) {
    let pause = sleep(pause.unwrap_or(broker::DEADLINE));
    let _ = parts.stop.run_until_cancelled(pause).await;
}

async fn session(parts: &Parts, prefetch: u16) -> Result<End, SessionError> {
    let connection = broker::connect(&parts.uri, "connector-details-worker").await?;
    let mut session = Session::open(&connection, parts, prefetch).await?;
    let result = session.run(parts).await;
    // Before the session is dropped, and its consumer with it: see above.
    broker::close(&connection).await;
    result
}

struct Session {
    channel: Channel,
    consumer: Consumer,
    /// Taken and checked, and not settled yet.
    ahead: VecDeque<Taken>,
    settler: Settler,
    /// Moves dead letters; ends with the session, and the session with it.
    dead: JoinSet<()>,
    prefetch: u16,
    _watch: queues::Watch,
}

impl Session {
    async fn open(
        connection: &Connection,
        parts: &Parts,
        prefetch: u16,
    ) -> Result<Self, SessionError> {
        let channel = within_deadline(connection.create_channel()).await?;
        tokio::time::timeout(broker::DEADLINE, topology::declare(&channel))
            .await
            .map_err(|_| BrokerError::Deadline)??;
        let mut dead = JoinSet::new();
        dead.spawn(dead::move_to_parked(
            within_deadline(connection.create_channel()).await?,
            parts.answers.clone(),
        ));
        within_deadline(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consumer = within_deadline(channel.basic_consume(
            topology::QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        ))
        .await?;
        // What was in hand before is the broker's again.
        parts.oldest.settle();
        Ok(Self {
            channel,
            consumer,
            ahead: VecDeque::new(),
            settler: Settler::default(),
            dead,
            prefetch,
            _watch: queues::Watch::start(connection, queues::ALL).await?,
        })
    }

    async fn run(&mut self, parts: &Parts) -> Result<End, SessionError> {
        parts.connected.send_replace(true);
        tracing::info!(
            prefetch = self.prefetch,
            "connected; taking commands as the active worker, or standing by"
        );
        let mut last = 0;
        let end = loop {
            if self.ahead.is_empty() {
                let delivery = tokio::select! {
                    biased;
                    () = parts.stop.cancelled() => break End::Stopped,
                    Some(_) = self.dead.join_next() => return Err(SessionError::Ended),
                    delivery = self.consumer.next() => delivery,
                    () = self.settler.due() => {
                        self.settler.acknowledge(&self.channel).await?;
                        continue;
                    }
                };
                take(&mut self.ahead, &mut self.consumer, parts, delivery)?;
            }
            if last >= CROWD {
                self.gather(parts, last * 3 / 4).await?;
            }
            let batch = next_batch(&mut self.ahead);
            last = batch.len();
            let all_new = batch.iter().all(|taken| !taken.is_redelivered());
            self.settle(parts, batch).await?;
            if self.prefetch == PROBATION {
                if all_new {
                    break End::Trusted;
                }
                // None follows before.
                self.settler.acknowledge(&self.channel).await?;
            }
            if parts.stop.is_cancelled() {
                break End::Stopped;
            }
            if self.dead.try_join_next().is_some() {
                return Err(SessionError::Ended);
            }
        };
        self.settler.finish(&self.channel).await;
        Ok(end)
    }

    /// Takes what is delivered until there are enough, but not for long.
    async fn gather(&mut self, parts: &Parts, enough: usize) -> Result<(), SessionError> {
        let mut pause = pin!(sleep(GATHER));
        while self.ahead.len() < enough {
            tokio::select! {
                biased;
                delivery = self.consumer.next() => {
                    take(&mut self.ahead, &mut self.consumer, parts, delivery)?;
                }
                () = &mut pause => break,
            }
        }
        Ok(())
    }

    /// Settles a batch, and checks what is delivered while the database has it.
    async fn settle(&mut self, parts: &Parts, batch: Vec<Taken>) -> Result<(), SessionError> {
        let mut settling = pin!(self.settler.settle(&self.channel, parts, batch));
        loop {
            tokio::select! {
                biased;
                settled = &mut settling => break settled?,
                delivery = self.consumer.next(), if self.ahead.len() < BATCH => {
                    let taken = take(&mut self.ahead, &mut self.consumer, parts, delivery);
                    if taken.is_err() {
                        // What is being decided is answered, however the connection is.
                        settling.await?;
                        return taken;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes a delivery, and every other one that is ready, as far as there is room.
fn take(
    ahead: &mut VecDeque<Taken>,
    consumer: &mut Consumer,
    parts: &Parts,
    first: Option<Result<Delivery, lapin::Error>>,
) -> Result<(), SessionError> {
    let mut next = Some(first);
    while let Some(delivery) = next {
        let delivery = delivery.ok_or(SessionError::Ended)?;
        let delivery = delivery.map_err(BrokerError::from)?;
        ahead.push_back(Taken::check(delivery, &parts.publishers));
        next = if ahead.len() < BATCH {
            consumer.next().now_or_never()
        } else {
            None
        };
    }
    Ok(())
}

/// What is to be settled next: all in order up to a command that was delivered before; or that one by
/// itself: it may be what killed the worker then, and must not take its neighbours with it again.
fn next_batch(ahead: &mut VecDeque<Taken>) -> Vec<Taken> {
    let new = ahead.iter().take_while(|taken| !taken.is_redelivered());
    let count = new.count().max(1).min(ahead.len());
    ahead.drain(..count).collect()
}
