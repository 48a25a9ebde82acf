//! One session: deliveries in, batches to `process`, outcomes to `publish`, acknowledgements out.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, future::LocalBoxFuture};
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use proto::{
    CommandError, CommandId, Outcome,
    amqp::topology::{self, TopologyError},
};
use runtime::{
    broker::{
        self, BrokerError,
        window::{Held, Window},
        within_deadline,
    },
    traces::trace_id,
};
use tokio::{
    task::{JoinError, JoinSet, yield_now},
    time::{sleep_until, timeout},
};

use super::{
    MAX_BODY_BYTES,
    acks::Acks,
    batch::{Batch, ProcessedBatch, Summary},
    batcher::{Batcher, Next, Waiting},
    context::Context,
    incoming::{Incoming, Refused},
    retries::Retries,
    topology_watch,
};
use crate::{
    failpoint, metrics,
    process::{Outage, OutcomeKind, Progress},
    publish::parking::ParkedCopy,
    store::Writers,
};

/// Safe mode: at the start of a process and after every session that broke, until a command was settled
/// that was never delivered before. What was delivered before may have ended the process or the session:
/// it is taken alone, so that the commands behind it are not delivered, and counted, each time with it
/// until they reach the delivery limit, too.
pub(super) const SAFE_PREFETCH: u16 = 1;
/// The most commands that wait for their batch. What the broker sends beyond that waits in the socket.
const MAX_BUFFERED: usize = 400;
/// Bytes of messages in hand or on their way, however many that are. With 64 KiB each, some hundreds.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// How long a worker that has to stop waits for what is being parked.
const DRAIN: Duration = Duration::from_secs(15);

/// Why a session ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Outage(#[from] Outage),
    #[error("parking a message panicked")]
    Parking(#[from] JoinError),
    #[error("the broker ended the consumer of commands")]
    Ended,
}

/// How a session ended that was not broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The worker has to stop.
    Stopped,
    /// Safe mode is over: the next session may take more at once. A consumer's prefetch can't be
    /// changed, and a cancelled one would let others overtake.
    Promoted,
}

/// Runs one session until it ends.
pub(super) async fn run(context: &Context, prefetch: u16) -> Result<SessionEnd, SessionError> {
    let window = Window::new(WINDOW_BYTES);
    let (name, in_hand) = ("connector-details-worker", Some(window.clone()));
    let connection =
        broker::connect_to_consume(&context.uri, name, MAX_BODY_BYTES, in_hand).await?;
    let mut session = Session::open(&connection, context, prefetch, window).await?;
    let result = tokio::select! {
        biased;
        result = session.run() => result,
        never = topology_watch::run(&connection) => match never {},
    };
    // Before the session is dropped, and its consumer with it: see `consumer`.
    broker::close(&connection).await;
    result
}

struct Session<'a> {
    context: &'a Context,
    channel: Channel,
    consumer: Consumer,
    /// Commands whose batch has not begun, in the order of delivery.
    waiting: VecDeque<Incoming>,
    batcher: Batcher,
    /// When to ask the batcher again.
    ask_again: Option<Instant>,
    /// The batch in work.
    in_work: Option<LocalBoxFuture<'a, (Writers, ProcessedBatch)>>,
    /// The connections to the database, while no batch is in work.
    writers: Option<Writers>,
    /// Commands that wait for locked records.
    retries: Retries<'a>,
    acks: Acks<Held>,
    /// Refused commands whose parked copy is not confirmed, by their delivery tags.
    parking: JoinSet<u64>,
    prefetch: u16,
    window: Arc<Window>,
}

impl<'a> Session<'a> {
    async fn open(
        connection: &Connection,
        context: &'a Context,
        prefetch: u16,
        window: Arc<Window>,
    ) -> Result<Self, SessionError> {
        let channel = within_deadline(connection.create_channel()).await?;
        timeout(broker::DEADLINE, topology::declare(&channel))
            .await
            .map_err(|_| BrokerError::Deadline)??;
        let consumer = consume(&channel, prefetch).await?;
        Ok(Self {
            context,
            channel,
            consumer,
            waiting: VecDeque::new(),
            batcher: Batcher::default(),
            ask_again: None,
            in_work: None,
            writers: Some(context.store.writers()),
            retries: Retries::new(context),
            acks: Acks::default(),
            parking: JoinSet::new(),
            prefetch,
            window,
        })
    }

    async fn run(&mut self) -> Result<SessionEnd, SessionError> {
        self.context.connected.send_replace(true);
        tracing::info!(
            prefetch = self.prefetch,
            "connected; taking commands as the active worker, or standing by"
        );
        let mut end = self.turns().await;
        // What is in work is finished and answered, however the session ends.
        if let Some(batch) = self.in_work.take() {
            let (_, processed) = batch.await;
            let settled = self.settle(processed).await;
            end = end.and_then(|end| settled.map(|()| end));
        }
        if let Some(processed) = self.retries.finish().await {
            let settled = self.settle_retry(processed).await;
            end = end.and_then(|end| settled.map(|()| end));
        }
        self.context.oldest.set(None);
        if end.is_ok() {
            self.finish().await;
        }
        end
    }

    async fn turns(&mut self) -> Result<SessionEnd, SessionError> {
        let context = self.context;
        loop {
            self.begin_batch();
            // The statement is sent first, and acknowledgements are written while it runs.
            tokio::select! {
                biased;
                () = context.stop.cancelled(), if self.in_work.is_none() => {
                    return Ok(SessionEnd::Stopped);
                }
                (writers, processed) = poll(&mut self.in_work), if self.in_work.is_some() => {
                    self.in_work = None;
                    self.writers = Some(writers);
                    let promotes = processed.is_new();
                    self.settle(processed).await?;
                    if self.settled_in_safe_mode(promotes).await? {
                        return Ok(SessionEnd::Promoted);
                    }
                }
                Some(processed) = self.retries.next() => {
                    self.settle_retry(processed).await?;
                }
                Some(parked) = self.parking.join_next() => {
                    self.acks.settle(parked?, Instant::now());
                }
                delivery = self.consumer.next(), if self.waiting.len() < MAX_BUFFERED => {
                    if self.take(delivery)? && self.settled_in_safe_mode(true).await? {
                        return Ok(SessionEnd::Promoted);
                    }
                }
                () = until(self.acks.due()) => self.acknowledge().await?,
                () = until(self.ask_again) => {}
            }
        }
    }

    /// In safe mode: whether it is over, because a command was settled that was never delivered before.
    /// If not, acknowledges at once: the broker sends nothing more until then.
    async fn settled_in_safe_mode(&mut self, promotes: bool) -> Result<bool, SessionError> {
        if self.prefetch != SAFE_PREFETCH {
            return Ok(false);
        }
        if !promotes {
            self.acknowledge().await?;
        }
        Ok(promotes)
    }

    /// Takes a delivery, and every other one that is ready, as far as there is room. Returns whether a
    /// command was refused that was never delivered before.
    fn take(
        &mut self,
        first: Option<Result<Delivery, lapin::Error>>,
    ) -> Result<bool, SessionError> {
        let mut refused_new = false;
        let mut next = Some(first);
        while let Some(delivery) = next {
            let delivery = delivery.ok_or(SessionError::Ended)?;
            let delivery = delivery.map_err(BrokerError::from)?;
            let held = self.window.hold(delivery.data.len());
            self.acks.open(delivery.delivery_tag, 1, held);
            match Incoming::read(delivery, &self.context.publishers) {
                Ok(incoming) => {
                    if failpoint::breaks_the_session(&incoming.envelope) {
                        return Err(SessionError::Ended);
                    }
                    self.queue(incoming);
                }
                Err(refused) => {
                    if failpoint::breaks_the_session(&refused.envelope) {
                        return Err(SessionError::Ended);
                    }
                    refused_new |= !refused.redelivered;
                    metrics::decided("refused", 1);
                    self.refuse(*refused);
                }
            }
            next = if self.waiting.len() < MAX_BUFFERED {
                self.consumer.next().now_or_never()
            } else {
                None
            };
        }
        Ok(refused_new)
    }

    /// Lets a command wait for its batch, or behind a locked record.
    fn queue(&mut self, incoming: Incoming) {
        if self.retries.must_wait(&incoming) {
            self.retries.push(incoming, false);
        } else {
            self.waiting.push_back(incoming);
        }
    }

    fn begin_batch(&mut self) {
        if self.in_work.is_some() || self.context.stop.is_cancelled() {
            return;
        }
        let waiting = self.waiting.iter().map(|command| Waiting {
            bytes: command.body.len(),
            redelivered: command.redelivered,
        });
        let count = match self.batcher.next(waiting, Instant::now()) {
            Next::Batch(count) => count,
            Next::WaitUntil(time) => {
                self.ask_again = Some(time);
                return;
            }
            Next::Idle => return,
        };
        self.ask_again = None;
        let batch = Batch::new(self.waiting.drain(..count).collect(), &self.context.traces);
        self.update_oldest(batch.oldest());
        let context = self.context;
        let mut writers = self
            .writers
            .take()
            .unwrap_or_else(|| context.store.writers());
        self.in_work = Some(
            async move {
                let processed = batch.process(&mut writers, &context.stop).await;
                (writers, processed)
            }
            .boxed_local(),
        );
    }

    /// Publishes the outcomes of a batch. What waits for a locked record is set aside, and so is all that
    /// waits and would overtake it.
    async fn settle(&mut self, processed: ProcessedBatch) -> Result<(), SessionError> {
        let locked = self.settle_processed(processed).await?;
        if locked.is_empty() {
            self.update_oldest(None);
            return Ok(());
        }
        if self.prefetch == SAFE_PREFETCH {
            tracing::warn!(
                "in safe mode a command waits for a record that somebody else's transaction has \
                 locked; all others wait, unless it is new"
            );
        } else {
            tracing::warn!(
                commands = locked.len(),
                "commands wait for records that somebody else's transaction has locked; the others go on"
            );
        }
        for incoming in locked {
            self.retries.push(incoming, true);
        }
        for incoming in std::mem::take(&mut self.waiting) {
            self.queue(incoming);
        }
        self.update_oldest(None);
        Ok(())
    }

    /// As [`Session::settle`], for what was tried again.
    async fn settle_retry(&mut self, processed: ProcessedBatch) -> Result<(), SessionError> {
        let locked = self.settle_processed(processed).await?;
        for incoming in self.retries.end(locked) {
            let before = |other: &Incoming| other.tag < incoming.tag;
            let place = self.waiting.partition_point(before);
            self.waiting.insert(place, incoming);
        }
        Ok(())
    }

    /// Hands over the replies, and parks what no worker can apply. Returns what waits for a locked record.
    async fn settle_processed(
        &mut self,
        processed: ProcessedBatch,
    ) -> Result<Vec<Incoming>, SessionError> {
        let ProcessedBatch {
            batch,
            progress,
            statements,
        } = processed;
        let mut summary = Summary::default();
        let mut decided = HashSet::new();
        let mut locked = Vec::new();
        for (place, (incoming, progress)) in batch.commands.into_iter().zip(progress?).enumerate() {
            match progress {
                Progress::Decided { outcome, kind } => {
                    self.context.publisher.reply(&incoming.envelope, outcome);
                    self.acks.settle(incoming.tag, Instant::now());
                    summary.add(kind, incoming.redelivered);
                }
                Progress::Refused(faults) => {
                    summary.add(OutcomeKind::Refused, incoming.redelivered);
                    self.refuse(incoming.refuse(faults));
                }
                Progress::Locked => {
                    locked.push(incoming);
                    continue;
                }
            }
            decided.insert(place);
        }
        if !locked.is_empty() {
            metrics::held();
        }
        if !decided.is_empty() {
            // The replies first: somebody waits for them.
            yield_now().await;
            summary.report(batch.started.elapsed(), &statements);
            let trace = batch
                .trace
                .and_then(|trace| trace.only(|place| decided.contains(&place)));
            if let Some(trace) = trace {
                trace.end(&self.context.traces, &statements);
            }
        }
        Ok(locked)
    }

    /// Answers a command that no worker can apply, and parks it in the background: others must not wait for
    /// that. Its delivery stays open until the copy is confirmed, so that what is being parked is bounded.
    fn refuse(&mut self, refused: Refused) {
        let Refused {
            tag,
            envelope,
            body,
            faults,
            ..
        } = refused;
        let first = faults
            .first()
            .cloned()
            .unwrap_or_else(CommandError::internal);
        tracing::warn!(
            command.id = envelope.command_id.as_ref().map(CommandId::as_str),
            trace.id = trace_id(envelope.traceparent.as_deref()),
            reason = first.code.as_str(),
            field = first.field,
            "a command is refused and parked"
        );
        metrics::parked(first.code.as_str());
        let publisher = self.context.publisher.clone();
        publisher.reply(&envelope, Outcome::Refused { errors: faults });
        let copy = ParkedCopy::of(&envelope, &first, &body);
        self.parking.spawn(async move {
            publisher.park(copy).await;
            tag
        });
    }

    async fn acknowledge(&mut self) -> Result<(), SessionError> {
        while let Some(parked) = self.parking.try_join_next() {
            self.acks.settle(parked?, Instant::now());
        }
        for ack in self.acks.take() {
            let options = BasicAckOptions {
                multiple: ack.multiple,
            };
            within_deadline(self.channel.basic_ack(ack.tag, options)).await?;
        }
        Ok(())
    }

    /// Acknowledges, and waits for what is being parked, but not forever. If it fails, the commands are
    /// delivered once more, and found decided.
    async fn finish(&mut self) {
        let _ = self.acknowledge().await;
        let all = async {
            while let Some(Ok(tag)) = self.parking.join_next().await {
                self.acks.settle(tag, Instant::now());
            }
        };
        let _ = timeout(DRAIN, all).await;
        let _ = self.acknowledge().await;
    }

    /// `in_work`: when the oldest command of the batch in work was published.
    fn update_oldest(&self, in_work: Option<u64>) {
        let oldest = self.retries.oldest().into_iter().chain(in_work).min();
        self.context.oldest.set(oldest);
    }
}

async fn consume(channel: &Channel, prefetch: u16) -> Result<Consumer, BrokerError> {
    within_deadline(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
    within_deadline(channel.basic_consume(
        topology::QUEUE.into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    ))
    .await
}

async fn poll<T>(future: &mut Option<LocalBoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
