//! One session: one connection to the broker, from its opening to its end.
//!
//! The session receives deliveries ([`deliveries`]), starts a batch at a time, handles the outcomes
//! ([`outcomes`]) and acknowledges deliveries ([`acknowledgements`]). A command moves through these states:
//!
//! ```text
//! waiting ──▶ in the current batch ──▶ settled ──▶ acknowledged
//!    ▲                 │ locked  └──▶ parking ──▶ settled
//!    └── in `retries` ◀┘
//! ```

mod acknowledgements;
mod deliveries;
mod end;
mod order;
mod outcomes;
mod returned_order;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use futures_util::{FutureExt as _, StreamExt as _, future::LocalBoxFuture};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use proto::amqp::topology;
use runtime::broker::{
    self, BrokerError,
    window::{Held, Window},
    within_deadline,
};
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};

pub(super) use self::end::{SessionEnd, SessionError};
use self::returned_order::ReturnedOrder;
use super::{
    MAX_BODY_BYTES,
    acks::Acks,
    batch::{Batch, ProcessedBatch},
    batcher::{Batcher, Next, Waiting},
    context::Context,
    incoming::Incoming,
    retries::Retries,
    topology_watch,
};
use crate::{process::Hold, store::Writer};

/// The prefetch of safe mode. It is on at the start of a process and after each session that ended with an
/// error, until a command that is not a redelivery has an outcome or finds its record locked.
///
/// A redelivered command may have crashed the process or ended the session. In safe mode it is delivered
/// alone. Otherwise the commands behind it would be delivered with it each time, and reach the delivery
/// limit, too.
pub(super) const SAFE_PREFETCH: u16 = 1;
/// The most commands that wait for a batch. While there are more, deliveries stay in the socket.
const MAX_BUFFERED: usize = 400;
/// Limit on the bytes of received and unacknowledged messages: a few hundred messages of 64 KiB.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// Runs one session until it ends.
pub(super) async fn run(context: &Context, prefetch: u16) -> Result<SessionEnd, SessionError> {
    let window = Window::new(WINDOW_BYTES);
    let connection = broker::connect_to_consume(
        &context.uri,
        "connector-details-worker",
        MAX_BODY_BYTES,
        Some(window.clone()),
    )
    .await?;
    let mut session = Session::open(&connection, context, prefetch, window).await?;
    let result = tokio::select! {
        biased;
        result = session.run() => result,
        never = topology_watch::run(&connection) => match never {},
    };
    // The connection must be closed before the session drops its consumer: see `consumer`.
    broker::close(&connection).await;
    result
}

struct Session<'a> {
    context: &'a Context,
    channel: Channel,
    consumer: Consumer,
    /// Commands that wait for a batch, in the order of delivery.
    waiting: VecDeque<Incoming>,
    batcher: Batcher,
    /// When to ask the batcher again.
    next_check: Option<Instant>,
    /// The current batch. While there is one, it owns the writer.
    current: Option<LocalBoxFuture<'a, (Writer, ProcessedBatch)>>,
    /// The connections to the database, while there is no current batch.
    writer: Option<Writer>,
    /// Commands that wait for locked records.
    retries: Retries<'a>,
    acks: Acks<Held>,
    /// One task for each refused command whose parked copy is not confirmed. Returns the delivery tag.
    parking: JoinSet<u64>,
    prefetch: u16,
    window: Arc<Window>,
    order: ReturnedOrder,
    /// When the oldest command of the current batch was published.
    current_oldest: Option<u64>,
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
            next_check: None,
            current: None,
            writer: Some(context.store.writer()),
            retries: Retries::new(context, hold(prefetch)),
            acks: Acks::default(),
            parking: JoinSet::new(),
            prefetch,
            window,
            order: ReturnedOrder::default(),
            current_oldest: None,
        })
    }

    async fn run(&mut self) -> Result<SessionEnd, SessionError> {
        self.context.connected.send_replace(true);
        tracing::info!(
            prefetch = self.prefetch,
            "connected; consuming as the active worker, or waiting as a standby"
        );
        let mut end = self.event_loop().await;
        // Even after an error, the current batch and the current attempt are finished, and their replies sent.
        if let Some(batch) = self.current.take() {
            let (_, processed) = batch.await;
            let handled = self.handle_batch(processed).await;
            end = end.and_then(|end| handled.map(|()| end));
        }
        if let Some(processed) = self.retries.finish().await {
            let handled = self.handle_attempt(processed).await;
            end = end.and_then(|end| handled.map(|()| end));
        }
        self.context.oldest.set(None);
        if end.is_ok() {
            self.acknowledge_rest().await;
        }
        end
    }

    async fn event_loop(&mut self) -> Result<SessionEnd, SessionError> {
        let context = self.context;
        loop {
            self.start_batch();
            let release_reserved_at = self.release_reserved_at();
            // The order of the branches matters: the statement of the next batch is sent first, and
            // acknowledgements are written while it runs.
            tokio::select! {
                biased;
                () = context.stop.cancelled(), if self.current.is_none() => {
                    return Ok(SessionEnd::Stopped);
                }
                (writer, processed) = poll(&mut self.current), if self.current.is_some() => {
                    self.current = None;
                    self.writer = Some(writer);
                    let promotes = processed.is_new();
                    self.handle_batch(processed).await?;
                    if self.leaves_safe_mode(promotes).await? {
                        return Ok(SessionEnd::Promoted);
                    }
                    if let Some(end) = self.returns_locked_command().await? {
                        return Ok(end);
                    }
                }
                Some(processed) = self.retries.next() => {
                    self.handle_attempt(processed).await?;
                }
                Some(parked) = self.parking.join_next() => {
                    self.acks.settle(parked?, Instant::now());
                }
                delivery = self.consumer.next(), if self.waiting.len() < MAX_BUFFERED => {
                    if let Some(end) = self.deliver(delivery).await? {
                        return Ok(end);
                    }
                }
                () = until(self.acks.due()) => self.acknowledge().await?,
                () = until(self.next_check) => {}
                () = until(release_reserved_at) => {
                    if let Some(end) = self.release_after_timeout() {
                        return Ok(end);
                    }
                }
            }
        }
    }

    /// Starts the next batch, if none is running and the batcher returns one.
    fn start_batch(&mut self) {
        if self.current.is_some() || self.context.stop.is_cancelled() {
            return;
        }
        let waiting = self.waiting.iter().map(|command| Waiting {
            bytes: command.body.len(),
            redelivered: command.redelivered,
        });
        let count = match self.batcher.next(waiting, Instant::now()) {
            Next::Batch(count) => count,
            Next::WaitUntil(time) => {
                self.next_check = Some(time);
                return;
            }
            Next::Idle => return,
        };
        self.next_check = None;
        let batch = Batch::new(self.waiting.drain(..count).collect(), &self.context.traces);
        self.current_oldest = batch.oldest();
        self.update_oldest();
        let (context, hold) = (self.context, hold(self.prefetch));
        let mut writer = self.writer.take().unwrap_or_else(|| context.store.writer());
        self.current = Some(
            async move {
                let processed = batch.process(&mut writer, hold, &context.stop).await;
                (writer, processed)
            }
            .boxed_local(),
        );
    }
}

/// How long a session with this prefetch holds its commands while the database is unavailable.
fn hold(prefetch: u16) -> Hold {
    if prefetch == SAFE_PREFETCH {
        Hold::UntilAvailable
    } else {
        Hold::Limited
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

/// Waits for the future. Without one it never ends.
async fn poll<T>(future: &mut Option<LocalBoxFuture<'_, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits until this time. Without one it never ends.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
