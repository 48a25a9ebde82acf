//! Takes commands from the queue, through as many connections as it takes.
//!
//! One session owns connection, channels and consumer, and drops all of them at the first error.
//! The connection is closed first: after a cancelled consumer or a closed channel - and lapin does
//! both when they are dropped - the next worker would overtake the deliveries in hand. After a
//! closed connection it gets them first, in their old order; but a worker that takes fewer than were
//! given back, and gives one back itself, gets that one after the others.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
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
    amqp::topology::{self, TopologyError},
    command,
};
use runtime::broker::{self, BrokerError, window::Window, within_deadline};
use runtime::{
    queue_depth::{self, Labelled},
    traces::Traces,
};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Answers,
    failpoint,
    lanes::Lanes,
    metrics::{self, Oldest},
    publishers::Publishers,
    retries::Retries,
    settle::{Decided, Settler, Taken, Unsettled},
    store::{Change, Store, StoreError},
};

/// The most commands in one batch. Higher gains little and makes each wait for more
/// neighbours; batches form by themselves while those before are being written.
const BATCH: usize = 200;
/// What is worth a batch of its own beside another, whose turn would come otherwise.
const BESIDE: usize = 50;
/// The most that are taken, checked and kept for the next two batches.
const AHEAD: usize = 2 * BATCH;
/// Six batches: two in the database, two to go on with, two on their way. More would be more to be
/// delivered again, and decided one by one, when a worker dies. A quorum queue allows at most 2,000.
const PREFETCH: u16 = 1200;
/// How long a batch waits for as many as came last time, or nearly; those who were just answered are
/// on their way back. A larger batch is less work for everyone, and where processors are busy that
/// makes up for the wait: 9 % more saves at 256 callers.
const GATHER: Duration = Duration::from_millis(2);
/// Who saves one after the other does not wait for anybody: less than this came last time.
const CROWD: usize = 8;
/// Safe mode: at the start of a process and after every session that broke, until a command was settled
/// that was never delivered before. What was delivered before may have ended the process or the session:
/// it is taken alone, so that the commands behind it are not delivered, and counted, each time with it
/// until they reach the delivery limit, too.
const SAFE_PREFETCH: u16 = 1;
/// How long to wait after a session that was open and broke. The command that broke it has to be
/// delivered 21 times before the broker gives it up, and all others wait for that.
const SAFE_PAUSE: Duration = Duration::from_millis(100);
/// How often to come back that soon, before the pauses grow.
const SAFE_RETRIES: u32 = 50;
/// Bytes of messages in hand or on their way, however many that are. With 64 KiB each, some hundreds.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// The largest body that is taken. A command's is smaller, even if all of it is escaped.
pub(crate) const MAX_BODY_BYTES: u64 = command::MAX_BODY_BYTES as u64;
/// Bytes of bodies in one batch, roughly: a larger statement is not quicker.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How often everything is declared again, so that an exchange or queue that somebody deleted comes back.
const DECLARE_AGAIN: Duration = Duration::from_secs(2);

/// The queues whose depth is a metric, with their labels.
const QUEUES: &[Labelled] = &[
    ("commands", topology::QUEUE),
    ("dead", topology::DEAD),
    ("parked", topology::PARKED),
    ("unreadable", topology::UNREADABLE),
];

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
    #[error("the broker ended the consumer of commands")]
    Ended,
}

/// How a session ended that was not broken.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As it was told to.
    Stopped,
    /// Safe mode is over: the next session may take more at once. A consumer's prefetch can't be
    /// changed, and a cancelled one would let others overtake.
    Trusted,
}

/// Consumes until told to stop.
///
/// # Errors
/// An exchange or a queue exists with other arguments, which no retry will change.
pub async fn run(parts: &Parts) -> Result<(), TopologyError> {
    let mut pauses = broker::backoff();
    let mut prefetch = SAFE_PREFETCH;
    let mut retries = SAFE_RETRIES;
    let mut lanes = Lanes::new(parts);
    while !parts.stop.is_cancelled() {
        metrics::safe_mode(prefetch == SAFE_PREFETCH);
        let started = Instant::now();
        let result = session(parts, &mut lanes, prefetch).await;
        if matches!(result, Ok(End::Trusted)) {
            (prefetch, retries) = (PREFETCH, SAFE_RETRIES);
            continue;
        }
        let was_open = parts.connected.send_replace(false);
        match result {
            Ok(_) => break,
            Err(SessionError::Topology(error)) if error.is_mismatch() => return Err(error),
            Err(SessionError::Unsettled(Unsettled::Outage { source, sample })) => {
                let error = &source as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "commands go back to the broker until the database is back"
                );
                // Safe mode follows: if the database is not back after all, one command loses a delivery
                // for it.
                wait_for_database(parts, &sample).await;
            }
            Err(error) => tracing::warn!(%error, "the consumer stopped; starting another"),
        }
        metrics::broken_session();
        prefetch = SAFE_PREFETCH;
        if started.elapsed() > broker::GOOD_SESSION {
            pauses = broker::backoff();
        }
        if was_open && retries > 0 {
            retries -= 1;
            pause(parts, Some(SAFE_PAUSE)).await;
        } else {
            pause(parts, pauses.next()).await;
        }
    }
    Ok(())
}

/// Waits until the database takes writes, and those that it could not take before.
async fn wait_for_database(parts: &Parts, sample: &[Change]) {
    for next in broker::backoff() {
        if parts.stop.is_cancelled() {
            return;
        }
        match can_write(&parts.store, sample).await {
            Ok(()) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the database still takes no commands");
            }
        }
        pause(parts, Some(next)).await;
    }
}

async fn can_write(store: &Store, sample: &[Change]) -> Result<(), StoreError> {
    store.heartbeat().await?;
    store.rehearse(sample).await
}

async fn pause(parts: &Parts, pause: Option<Duration>) {
    let pause = sleep(pause.unwrap_or(broker::DEADLINE));
    let _ = parts.stop.run_until_cancelled(pause).await;
}

async fn session<'a>(
    parts: &'a Parts,
    lanes: &mut Lanes<'a>,
    prefetch: u16,
) -> Result<End, SessionError> {
    let window = Window::new(WINDOW_BYTES);
    let (name, in_hand) = ("connector-details-worker", Some(window.clone()));
    let connection = broker::connect_to_consume(&parts.uri, name, MAX_BODY_BYTES, in_hand).await?;
    let mut session = Session::open(&connection, parts, lanes, prefetch, window).await?;
    let result = tokio::select! {
        biased;
        result = session.run() => result,
        never = look_after(&connection) => match never {},
    };
    // Before the session is dropped, and its consumer with it: see above.
    broker::close(&connection).await;
    result
}

struct Session<'s, 'a> {
    parts: &'a Parts,
    channel: Channel,
    consumer: Consumer,
    /// Taken and checked, and not begun yet; in the order of delivery.
    ahead: VecDeque<Taken>,
    lanes: &'s mut Lanes<'a>,
    /// What waits for locked records.
    retries: Retries<'a>,
    settler: Settler,
    /// How many commands were there when the database had none the last time.
    last: usize,
    /// Until when the next waits for as many.
    gathering: Option<Instant>,
    prefetch: u16,
    window: Arc<Window>,
}

impl<'s, 'a> Session<'s, 'a> {
    async fn open(
        connection: &Connection,
        parts: &'a Parts,
        lanes: &'s mut Lanes<'a>,
        prefetch: u16,
        window: Arc<Window>,
    ) -> Result<Self, SessionError> {
        let channel = within_deadline(connection.create_channel()).await?;
        timeout(broker::DEADLINE, topology::declare(&channel))
            .await
            .map_err(|_| BrokerError::Deadline)??;
        let consumer = consume(&channel, prefetch).await?;
        Ok(Self {
            parts,
            channel,
            consumer,
            ahead: VecDeque::new(),
            lanes,
            retries: Retries::new(parts),
            settler: Settler::default(),
            last: 0,
            gathering: None,
            prefetch,
            window,
        })
    }

    async fn run(&mut self) -> Result<End, SessionError> {
        self.parts.connected.send_replace(true);
        tracing::info!(
            prefetch = self.prefetch,
            "connected; taking commands as the active worker, or standing by"
        );
        let mut end = self.turns().await;
        // What was begun is answered, however the session ends.
        while let Some(decided) = self.lanes.next().await {
            let settled = self.settle(decided).await;
            end = end.and_then(|end| settled.map(|()| end).map_err(SessionError::from));
        }
        if let Some(decided) = self.retries.finish().await {
            let settled = self.settle_retry(decided).await;
            end = end.and_then(|end| settled.map(|()| end).map_err(SessionError::from));
        }
        self.lanes.set_oldest_aside(None);
        if end.is_ok() {
            self.settler.finish(&self.channel).await;
        }
        end
    }

    async fn turns(&mut self) -> Result<End, SessionError> {
        loop {
            self.begin();
            // What is begun is sent to the database first, and what is owed is acknowledged while
            // it is there.
            tokio::select! {
                biased;
                () = self.parts.stop.cancelled(), if self.lanes.is_empty() => {
                    return Ok(End::Stopped);
                }
                Some(decided) = self.lanes.next() => {
                    let is_new = decided.is_new();
                    self.settle(decided).await?;
                    if self.prefetch == SAFE_PREFETCH {
                        if is_new {
                            return Ok(End::Trusted);
                        }
                        // The broker sends nothing more before.
                        self.settler.acknowledge(&self.channel).await?;
                    }
                }
                Some(decided) = self.retries.next() => self.settle_retry(decided).await?,
                delivery = self.consumer.next(), if self.ahead.len() < AHEAD => {
                    self.take(delivery)?;
                }
                () = self.settler.due() => self.settler.acknowledge(&self.channel).await?,
                () = until(self.gathering) => {}
            }
        }
    }

    /// Hands out the answers. What waits for a locked record is set aside, and all that is ahead and
    /// would overtake it, too.
    async fn settle(&mut self, decided: Decided) -> Result<(), Unsettled> {
        let locked = self.settler.settle(self.parts, decided).await?;
        if locked.is_empty() {
            return Ok(());
        }
        let commands = locked.len();
        if self.prefetch == SAFE_PREFETCH {
            tracing::warn!(
                "in safe mode a command waits for a record that somebody else's transaction has \
                 locked; all others wait, unless it is new"
            );
        } else {
            tracing::warn!(
                commands,
                "commands wait for records that somebody else's transaction has locked; the others go on"
            );
        }
        for taken in locked {
            self.set_aside(taken, true);
        }
        for taken in std::mem::take(&mut self.ahead) {
            self.queue(taken);
        }
        self.lanes.set_oldest_aside(self.retries.oldest());
        Ok(())
    }

    /// As [`Session::settle`], for what was tried again.
    async fn settle_retry(&mut self, decided: Decided) -> Result<(), Unsettled> {
        let locked = self.settler.settle(self.parts, decided).await?;
        for taken in self.retries.end(locked) {
            let before = |other: &Taken| other.tag() < taken.tag();
            let place = self.ahead.partition_point(before);
            self.ahead.insert(place, taken);
        }
        self.lanes.set_oldest_aside(self.retries.oldest());
        Ok(())
    }

    fn queue(&mut self, taken: Taken) {
        if self.retries.share(&taken) {
            self.set_aside(taken, false);
        } else {
            self.ahead.push_back(taken);
        }
    }

    /// `locked`: see [`Retries::push`].
    fn set_aside(&mut self, taken: Taken, locked: bool) {
        self.settler.set_aside(&taken);
        self.retries.push(taken, locked);
    }

    /// Takes a delivery, and every other one that is ready, as far as there is room.
    fn take(&mut self, first: Option<Result<Delivery, lapin::Error>>) -> Result<(), SessionError> {
        let mut next = Some(first);
        while let Some(delivery) = next {
            let delivery = delivery.ok_or(SessionError::Ended)?;
            let delivery = delivery.map_err(BrokerError::from)?;
            let held = self.window.hold(delivery.data.len());
            let taken = Taken::check(delivery, held, &self.parts.publishers);
            if failpoint::breaks_the_session(taken.envelope()) {
                return Err(SessionError::Ended);
            }
            self.queue(taken);
            next = if self.ahead.len() < AHEAD {
                self.consumer.next().now_or_never()
            } else {
                None
            };
        }
        Ok(())
    }

    /// Begins what may begin.
    fn begin(&mut self) {
        while self.lanes.has_room() && !self.parts.stop.is_cancelled() {
            let count = self.ready();
            if count == 0 {
                return;
            }
            self.gathering = None;
            self.lanes.begin(self.ahead.drain(..count).collect());
        }
    }

    /// How many of those ahead may begin now, in their order.
    fn ready(&mut self) -> usize {
        let Some(first) = self.ahead.front() else {
            return 0;
        };
        if !self.lanes.is_empty() {
            let enough = self.ahead.len() >= BESIDE;
            let count = if enough { self.together(BATCH) } else { 0 };
            return if count >= BESIDE { count } else { 0 };
        }
        if first.is_redelivered() {
            // By itself: it may be what killed the worker then, and must not take its neighbours with
            // it again.
            return 1;
        }
        if self.last >= CROWD && self.ahead.len() < self.last * 3 / 4 {
            let now = Instant::now();
            if now < *self.gathering.get_or_insert(now + GATHER) {
                return 0;
            }
        }
        self.last = self.together(AHEAD);
        // The second half can begin beside the first.
        if self.last < 2 * BESIDE {
            self.last
        } else {
            self.last / 2
        }
    }

    /// How many of those ahead, at most, may be in one batch beside what is begun: all up to one that
    /// was delivered before, or that shares something with what is begun.
    fn together(&self, most: usize) -> usize {
        let mut bytes = 0;
        let fits = |taken: &&Taken| {
            let has_room = bytes < BATCH_BYTES;
            bytes += taken.bytes();
            has_room && !taken.is_redelivered() && !self.lanes.share(taken)
        };
        self.ahead.iter().take(most).take_while(fits).count()
    }
}

/// Declares everything again and again, and tells how much waits in each queue.
async fn look_after(connection: &Connection) -> Infallible {
    let (never, _) = tokio::join!(keep_topology(connection), watch_queues(connection));
    never
}

/// The broker tells a consumer that its queue is gone, and nobody that an exchange or another queue is.
async fn keep_topology(connection: &Connection) -> Infallible {
    loop {
        if let Ok(channel) = within_deadline(connection.create_channel()).await
            && let Err(error) = declare_again(&channel).await
        {
            tracing::warn!(%error, "an exchange or a queue can't be declared again");
        }
        sleep(DECLARE_AGAIN).await;
    }
}

/// Ends with the first object that can't be declared; the channel is closed then.
async fn declare_again(channel: &Channel) -> Result<Infallible, TopologyError> {
    loop {
        sleep(DECLARE_AGAIN).await;
        // A broker that is slow does it later.
        if let Ok(declared) = timeout(broker::DEADLINE, topology::declare(channel)).await {
            declared?;
        }
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

async fn watch_queues(connection: &Connection) -> Infallible {
    loop {
        if let Ok(mut watch) = queue_depth::Watch::start(connection, QUEUES).await {
            // With a queue that is missing, until it comes back.
            watch.ended().await;
        }
        sleep(DECLARE_AGAIN).await;
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
