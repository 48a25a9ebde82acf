//! Settles deliveries. There are three ends: answered and acknowledged; parked and acknowledged;
//! held, until the connection closes and the broker gives them to the next worker. What waits for a
//! locked record is returned to the caller, who sets it aside.
//!
//! Batches are acknowledged together, a few milliseconds later and while the next statement runs.
//! The broker writes an acknowledgement to its disk, too, and the next command of somebody who
//! saves one after the other would have to wait for it.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use lapin::{Channel, message::Delivery, options::BasicAckOptions};
use proto::{CommandId, Envelope, Fault, amqp::envelope::since_epoch};
use runtime::broker::{self, BrokerError, window::Held, within_deadline};
use runtime::{logs::milliseconds, traces::trace_id};
use tokio::{
    task::{JoinSet, yield_now},
    time::{sleep_until, timeout},
};

use crate::{
    answers::Answers,
    batch,
    consumer::Parts,
    failpoint,
    handler::{self, Checked, Kind, Message, Progress, Verdict},
    metrics,
    parking::{ParkedCopy, contained},
    publishers::Publishers,
    spans::{BatchSpans, Statement},
    store::{Change, Lane, StoreError},
    unreadable,
};

/// How long a database that is away is waited for with deliveries in hand. After that they go
/// back, so that an outage costs each command one redelivery and not its delivery limit.
const HOLD: Duration = Duration::from_mins(2);
/// How long an answered delivery may be left unacknowledged. Longer gains nothing more; a worker
/// that dies leaves as much to be delivered, and found decided, again.
const OWED: Duration = Duration::from_millis(10);
/// And how many may be: less than the broker hands out ahead, or it would stop.
const MOST_OWED: usize = 100;
/// How long a worker that was told to stop goes on trying to finish what it has in hand.
const DRAIN: Duration = Duration::from_secs(15);

/// Why deliveries are still held when the session ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsettled {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("a delivery was not ours to acknowledge any more")]
    Stale,
    #[error("parking a message panicked")]
    Parking(#[source] tokio::task::JoinError),
    #[error("the database was away for too long")]
    Outage {
        source: StoreError,
        /// Some of what could not be decided: the outage lasts for as long as it can't.
        sample: Vec<Change>,
    },
}

/// Settles the deliveries of one session.
#[derive(Default)]
pub(crate) struct Settler {
    /// Deliveries that are answered and not acknowledged yet.
    answered: Vec<Delivery>,
    /// When the first of them has to be.
    due: Option<Instant>,
    /// The tags of deliveries that were set aside and are not answered yet. All others are answered in
    /// the order of their tags.
    aside: BTreeSet<u64>,
    /// Deliveries that are acknowledged as soon as the broker has confirmed their parked copy.
    parking: JoinSet<()>,
}

impl Settler {
    /// A delivery has to wait, for longer than those behind it.
    pub fn set_aside(&mut self, taken: &Taken) {
        self.aside.insert(taken.tag());
    }

    /// Hands out the answers, and parks what nobody can apply. Returns what waits for a locked record.
    pub async fn settle(
        &mut self,
        parts: &Parts,
        decided: Decided,
    ) -> Result<Vec<Taken>, Unsettled> {
        let Decided {
            batch,
            verdicts,
            started,
            statements,
            spans,
        } = decided;
        let verdicts = verdicts?;
        let is_decided = |place: usize| matches!(verdicts.get(place), Some(Progress::Decided(_)));
        let spans = spans.and_then(|spans| spans.only(is_decided));
        let mut redelivered = 0;
        let mut counts = Counts::default();
        let mut locked = Vec::new();
        for (taken, progress) in batch.into_iter().zip(verdicts) {
            let Progress::Decided(verdict) = progress else {
                locked.push(taken);
                continue;
            };
            redelivered += usize::from(taken.is_redelivered());
            self.aside.remove(&taken.tag());
            counts.add(verdict.kind);
            let envelope = &taken.message.envelope;
            parts.answers.reply(envelope, verdict.outcome);
            match verdict.park {
                Some(fault) => self.park(parts.answers.clone(), taken, &fault),
                None => self.answered.push(taken.delivery),
            }
        }
        if !locked.is_empty() {
            metrics::held();
        }
        if counts.is_empty() {
            return Ok(locked);
        }
        // The replies first: somebody waits for them.
        yield_now().await;
        counts.tell(started.elapsed(), redelivered, &statements);
        if let Some(spans) = spans {
            spans.end(&parts.traces, &statements);
        }
        if !self.answered.is_empty() {
            self.due.get_or_insert_with(|| Instant::now() + OWED);
        }
        Ok(locked)
    }

    /// Ends when something has been owed for long enough, or too much.
    pub async fn due(&self) {
        match self.due {
            Some(due) if self.answered.len() < MOST_OWED => sleep_until(due.into()).await,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Parks a message in the background: it must not hold up its neighbours. It keeps its place among
    /// what is in hand until it is parked, so that what is being parked is bounded, too.
    fn park(&mut self, answers: Answers, taken: Taken, fault: &Fault) {
        let Taken {
            delivery,
            message,
            held,
            ..
        } = taken;
        tracing::warn!(
            command.id = message.envelope.command_id.as_ref().map(CommandId::as_str),
            trace.id = trace_id(message.envelope.traceparent.as_deref()),
            reason = fault.code.as_str(),
            field = fault.field,
            "a command is refused and parked"
        );
        metrics::parked(fault.code.as_str());
        let copy = ParkedCopy::of(&message.envelope, fault, &message.body);
        self.parking.spawn(async move {
            answers.park_surely(copy).await;
            // If this fails, the command is delivered and parked once more.
            let _ = within_deadline(delivery.ack(BasicAckOptions::default())).await;
            drop(held);
        });
    }

    /// Acknowledges what was answered: in one go, unless a delivery in between is still being
    /// parked, or waits.
    pub async fn acknowledge(&mut self, channel: &Channel) -> Result<(), Unsettled> {
        while let Some(parked) = self.parking.try_join_next() {
            // Its delivery is neither parked nor acknowledged, and must not be acknowledged with others.
            parked.map_err(Unsettled::Parking)?;
        }
        self.due = None;
        let answered = std::mem::take(&mut self.answered);
        // The first delivery that none may be acknowledged across.
        let open = match (self.parking.is_empty(), self.aside.first()) {
            (false, _) => 0,
            (true, first) => first.copied().unwrap_or(u64::MAX),
        };
        let (together, singly): (Vec<_>, Vec<_>) = answered
            .into_iter()
            .partition(|delivery| delivery.delivery_tag < open);
        if let Some(last) = together.iter().map(|delivery| delivery.delivery_tag).max() {
            let options = BasicAckOptions { multiple: true };
            within_deadline(channel.basic_ack(last, options)).await?;
        }
        for delivery in singly {
            if !within_deadline(delivery.ack(BasicAckOptions::default())).await? {
                return Err(Unsettled::Stale);
            }
        }
        Ok(())
    }

    /// Acknowledges, and waits for what is being parked, but not forever.
    pub async fn finish(&mut self, channel: &Channel) {
        // If this fails, the commands are delivered once more, and found decided.
        let _ = self.acknowledge(channel).await;
        let all = async { while self.parking.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all).await;
    }
}

/// How many messages of a batch came to which end.
#[derive(Default)]
struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// One line for each batch, and its metrics.
    fn tell(&self, took: Duration, redelivered: usize, statements: &[Statement]) {
        let Self([saved, deleted, repeated, conflicts, refused]) = self;
        let commands = self.0.iter().sum();
        tracing::info!(
            commands,
            saved,
            deleted,
            repeated,
            conflicts,
            refused,
            redelivered,
            statements = statements.len(),
            duration_ms = milliseconds(took),
            "a batch was decided"
        );
        metrics::batch(commands, redelivered, took);
        for kind in Kind::ALL {
            metrics::decided(kind.as_str(), self.0[kind as usize]);
        }
    }
}

/// A delivery that was taken and looked at, and that nothing came of yet.
pub(crate) struct Taken {
    /// What is left of it to acknowledge it with.
    delivery: Delivery,
    message: Message,
    checked: Checked,
    /// Its place among what is in hand, counted in bytes.
    held: Held,
}

impl Taken {
    /// Checks the message. One that panics is parked like one that breaks a rule.
    pub fn check(mut delivery: Delivery, held: Held, publishers: &Publishers) -> Self {
        let properties = &delivery.properties;
        let unreadable = unreadable::fault(properties);
        let envelope = contained("reading a message", || Envelope::read(properties));
        let could_be_read = envelope.is_some();
        let message = Message {
            envelope: envelope.unwrap_or_default(),
            body: std::mem::take(&mut delivery.data),
        };
        let checked = match unreadable {
            Some(fault) => Err(vec![fault]),
            None if could_be_read => {
                let check = || handler::check(&message, publishers);
                contained("checking a command", check)
                    .unwrap_or_else(|| Err(vec![Fault::internal()]))
            }
            None => Err(vec![Fault::internal()]),
        };
        Self {
            delivery,
            message,
            checked,
            held,
        }
    }

    /// The tag of its delivery. In one session, tags grow in the order of delivery.
    pub fn tag(&self) -> u64 {
        self.delivery.delivery_tag
    }

    /// What stands around its body.
    pub fn envelope(&self) -> &Envelope {
        &self.message.envelope
    }

    /// How long its body is.
    pub fn bytes(&self) -> usize {
        self.message.body.len()
    }

    pub fn is_redelivered(&self) -> bool {
        self.delivery.redelivered
    }

    /// What it wants; none where it is refused.
    pub fn change(&self) -> Option<&Change> {
        self.checked.as_ref().ok()
    }

    /// When it was published, in seconds since 1970; whoever sets no time is as old as its delivery.
    pub fn published(&self) -> u64 {
        let published = self.message.envelope.timestamp;
        published.unwrap_or_else(|| since_epoch().as_secs())
    }
}

/// A batch that was decided, or could not be, and that nothing came of yet.
pub(crate) struct Decided {
    batch: Vec<Taken>,
    verdicts: Result<Vec<Progress>, Unsettled>,
    started: Instant,
    statements: Vec<Statement>,
    spans: Option<BatchSpans>,
}

impl Decided {
    /// Whether none of it was delivered before.
    pub fn is_new(&self) -> bool {
        self.batch.iter().all(|taken| !taken.is_redelivered())
    }
}

/// Decides a batch.
pub(crate) async fn decide(parts: &Parts, lane: &mut Lane, batch: Vec<Taken>) -> Decided {
    let started = Instant::now();
    let envelopes = batch.iter().map(|taken| &taken.message.envelope);
    let spans = BatchSpans::begin(&parts.traces, envelopes);
    Decided {
        verdicts: decide_each(parts, lane, &batch).await,
        statements: lane.take_statements(),
        batch,
        started,
        spans,
    }
}

/// Decides the messages together; or, if that panics, each by itself, and parks the one that did.
async fn decide_each(
    parts: &Parts,
    lane: &mut Lane,
    batch: &[Taken],
) -> Result<Vec<Progress>, Unsettled> {
    let checked: Vec<&Checked> = batch.iter().map(|taken| &taken.checked).collect();
    if let Ok(verdicts) = AssertUnwindSafe(decide_or_hold(parts, lane, &checked))
        .catch_unwind()
        .await
    {
        return verdicts;
    }
    let mut verdicts = Vec::with_capacity(checked.len());
    let mut locked = batch::Names::default();
    for one in &checked {
        let change = one.as_ref().ok();
        if let Some(change) = change
            && locked.share(change)
        {
            locked.add(change);
            verdicts.push(Progress::Locked);
            continue;
        }
        let alone = decide_or_hold(parts, lane, std::slice::from_ref(one));
        let decided = match AssertUnwindSafe(alone).catch_unwind().await {
            Ok(decided) => decided?,
            Err(_) => vec![Progress::Decided(Verdict::parked(vec![Fault::internal()]))],
        };
        if let (Some(change), [Progress::Locked]) = (change, decided.as_slice()) {
            locked.add(change);
        }
        verdicts.extend(decided);
    }
    Ok(verdicts)
}

/// Decides the messages, and holds them while the database can't.
async fn decide_or_hold(
    parts: &Parts,
    lane: &mut Lane,
    checked: &[&Checked],
) -> Result<Vec<Progress>, Unsettled> {
    let hold = failpoint::hold().unwrap_or(HOLD);
    let started = Instant::now();
    let mut pauses = broker::backoff();
    loop {
        let error = match handler::decide(lane, checked).await {
            Ok(verdicts) => return Ok(verdicts),
            Err(error) => error,
        };
        let stopping = parts.stop.is_cancelled();
        if started.elapsed() > if stopping { DRAIN } else { hold } {
            return Err(Unsettled::Outage {
                source: error,
                sample: batch::sample(checked),
            });
        }
        metrics::held();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            commands = checked.len(),
            "the database can't decide now; holding the commands and trying again"
        );
        tokio::time::sleep(pauses.next().unwrap_or(broker::DEADLINE)).await;
    }
}
