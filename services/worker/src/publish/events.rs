//! Announces what was committed: at least once, and in order for each record.
//!
//! The worker that commits announces, by what its store tells it. What it was not told of, or another
//! worker left behind, is read from the outbox. A lock in the database keeps two from announcing at
//! once.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use proto::amqp::{
    envelope::{CONTENT_TYPE, since_epoch},
    topology,
};
use runtime::broker::{self, BrokerError, within_deadline};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Publisher;
use crate::{
    failpoint, metrics,
    store::{Announcement, Committed, News, Store, StoreError},
};

/// Statements that are read from the outbox at once: some hundreds of events. One, where those before
/// held much.
const STATEMENTS: i64 = 8;
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Events, and bytes of them, that are published before any is known to be confirmed.
const AT_ONCE: usize = 500;
const AT_ONCE_BYTES: usize = 4 * 1024 * 1024;
/// Between two announcements.
const TOGETHER: Duration = Duration::from_millis(25);
/// How long somebody who has nothing to announce keeps the lock from the others.
const IDLE: Duration = Duration::from_millis(250);
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
    #[error("announcing events panicked; this is a fault of the worker")]
    Panicked,
    #[error("an event can't be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Announces whatever there is until `stop`; and then once more.
pub async fn announce(store: Store, publisher: Publisher, news: News, stop: CancellationToken) {
    let mut announcer = Announcer {
        store,
        publisher,
        news,
        place: Place::Behind,
    };
    let mut first = None;
    loop {
        let last = stop.is_cancelled();
        let round = AssertUnwindSafe(announcer.round(first.take())).catch_unwind();
        if let Err(error) = round.await.unwrap_or(Err(NotAnnounced::Panicked)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events are not announced at the moment; they are kept"
            );
            announcer.place = Place::Waiting;
        }
        if last {
            return;
        }
        let next = async {
            // A little later, and together: announcing each batch by itself costs as much as
            // storing it.
            sleep(TOGETHER).await;
            announcer.next().await
        };
        first = stop.run_until_cancelled(next).await.flatten();
    }
}

struct Announcer {
    store: Store,
    publisher: Publisher,
    news: News,
    place: Place,
}

/// Where whoever announces stands.
enum Place {
    /// There may be something in the outbox, one day.
    Behind,
    /// There is something in the outbox, and it could not be announced.
    Waiting,
    /// The lock is held, and what was committed before is announced; the news are enough.
    Current {
        since: Instant,
        /// The last place in the order that was announced. Places are given one by one, to whichever
        /// worker commits: if the next is missing in the news, it is somebody else's.
        last: i64,
        /// What was read from the outbox, and may come as news, too.
        read: HashSet<i64>,
    },
}

impl Announcer {
    /// Ends when there may be something to do, with the news, if that is what it is.
    async fn next(&mut self) -> Option<Committed> {
        let pause = match self.place {
            Place::Behind => PAUSE,
            Place::Waiting | Place::Current { .. } => IDLE,
        };
        timeout(pause, self.news.next()).await.ok().flatten()
    }

    async fn round(&mut self, first: Option<Committed>) -> Result<(), NotAnnounced> {
        let mut news = Vec::from_iter(first);
        while let Ok(committed) = self.news.committed.try_recv() {
            news.push(committed);
        }
        let more = self.news.take_more();
        if let Place::Current { since, last, read } = &self.place
            && !more
            && !news.is_empty()
            && since.elapsed() < PAUSE
        {
            news.retain(|committed| !read.contains(&committed.seq));
            news.sort_by_key(|committed| committed.seq);
            if let Some(reached) = all_from(*last, &news) {
                self.announce(&news).await?;
                if let Place::Current { last, .. } = &mut self.place {
                    *last = reached;
                }
                return Ok(());
            }
        }
        // What is news stands in the outbox, too.
        self.catch_up(more || !news.is_empty()).await
    }

    /// Announces what the outbox has, and goes on with the news if there was anything.
    async fn catch_up(&mut self, is_waiting: bool) -> Result<(), NotAnnounced> {
        if !self.store.lock_outbox().await? {
            self.place = if is_waiting {
                Place::Waiting
            } else {
                Place::Behind
            };
            return Ok(());
        }
        let mut read = HashSet::new();
        let mut statements = 1;
        loop {
            let batch = self.store.unannounced(statements).await?;
            if batch.is_empty() {
                break;
            }
            let bytes: usize = batch.iter().map(Committed::bytes).sum();
            statements = if bytes > LARGE_BYTES { 1 } else { STATEMENTS };
            self.announce(&batch).await?;
            read.extend(batch.iter().map(|committed| committed.seq));
        }
        if let Some(&last) = read.iter().max() {
            let since = Instant::now();
            self.place = Place::Current { since, last, read };
        } else {
            self.place = Place::Behind;
            self.store.unlock_outbox().await?;
        }
        Ok(())
    }

    async fn announce(&self, batch: &[Committed]) -> Result<(), NotAnnounced> {
        if batch.is_empty() {
            return Ok(());
        }
        let channel = self.publisher.events().ok_or(NotAnnounced::Disconnected)?;
        let all = batch.iter().flat_map(|committed| &committed.announcements);
        let all: Vec<&Announcement> = all.collect();
        publish(&channel, &all).await?;
        let seqs: Vec<i64> = batch.iter().map(|committed| committed.seq).collect();
        self.store.announced(&seqs).await?;
        metrics::announced(all.len());
        Ok(())
    }
}

/// The last place in the order that these reach, from another on, if none is missing between. One from
/// before is a statement that was slower than its neighbour; they share no record.
fn all_from(last: i64, news: &[Committed]) -> Option<i64> {
    let new = news.iter().map(|committed| committed.seq);
    new.filter(|seq| *seq > last)
        .try_fold(last, |last, seq| (seq == last + 1).then_some(seq))
}

/// Writes all of them that somebody is there to hear, and waits until the broker has them.
///
/// The first event of each kind asks whether any queue is bound for it, and what no queue would take is
/// not sent: where nobody listens, that halves what a command costs the broker. Nobody misses anything
/// by it. All of these were committed before the question, and who binds a queue after that is too late
/// for them. So it has to be asked anew each time.
async fn publish(channel: &Channel, all: &[&Announcement]) -> Result<(), NotAnnounced> {
    let mut heard = HashMap::new();
    let mut publishing = Vec::new();
    let mut bytes = 0;
    for announcement in all {
        let kind = announcement.event.routing_key();
        bytes += announcement.bytes();
        match heard.get(kind) {
            Some(true) => publishing.push(begin(channel, announcement, false)?),
            Some(false) => {}
            None => {
                // In order, whatever the answer is.
                finish(publishing.drain(..)).await?;
                let question = begin(channel, announcement, true)?;
                heard.insert(kind, finish([question]).await?);
            }
        }
        if publishing.len() == AT_ONCE || bytes > AT_ONCE_BYTES {
            finish(publishing.drain(..)).await?;
            bytes = 0;
        }
    }
    finish(publishing).await.map(drop)
}

/// Begins to publish one: in the order of the calls.
fn begin(
    channel: &Channel,
    announcement: &Announcement,
    mandatory: bool,
) -> Result<impl Future<Output = lapin::Result<Confirmation>>, NotAnnounced> {
    failpoint::announce(&announcement.event);
    let body = announcement.event.encode()?;
    let properties = properties(announcement);
    let options = BasicPublishOptions {
        mandatory,
        ..BasicPublishOptions::default()
    };
    Ok(broker::begin(async move {
        let kind = announcement.event.routing_key();
        let written = channel.basic_publish(
            topology::EVENTS.into(),
            kind.into(),
            options,
            &body,
            properties,
        );
        written.await?.await
    }))
}

/// Waits until the broker has all of them. False: it gave one back that no queue would take.
async fn finish(
    publishing: impl IntoIterator<
        Item = impl Future<Output = lapin::Result<Confirmation>>,
        IntoIter: DoubleEndedIterator,
    >,
) -> Result<bool, NotAnnounced> {
    let mut heard = true;
    // The last one first: when it is there, the others are, and wake nobody.
    for confirmation in publishing.into_iter().rev() {
        match within_deadline(confirmation).await? {
            Confirmation::Ack(returned) => heard &= returned.is_none(),
            _ => return Err(NotAnnounced::Refused),
        }
    }
    Ok(heard)
}

fn properties(Announcement { event, traceparent }: &Announcement) -> BasicProperties {
    let mut headers = FieldTable::default();
    if let Some(traceparent) = traceparent {
        let value = AMQPValue::LongString(traceparent.as_str().into());
        headers.insert("traceparent".into(), value);
    }
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(event.id().into())
        .with_type(event.kind().into())
        .with_content_type(CONTENT_TYPE.into())
        .with_timestamp(since_epoch().as_secs())
        .with_app_id("connector-details-worker".into())
        .with_headers(headers)
}
