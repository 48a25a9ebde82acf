//! Clients that save, write down what they were told, and hold the service to it.
//!
//! Each client owns a record and saves numbered values into it, one after the other. A save that
//! was not answered with the record is repeated under the same `Idempotency-Key` until it is, as a
//! page would do; so in the end every value has to be there, once, in the order of the numbers.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sqlx::PgPool;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, SPACE, sample_with},
    report::Report,
};

/// No request may take longer, whatever happens.
pub const DEADLINE: Duration = Duration::from_secs(10);
const REPEAT_PAUSE: Duration = Duration::from_millis(100);
/// A save that is not answered with its record after so long is lost.
const PATIENCE: Duration = Duration::from_secs(150);
/// Before the fault: for caches to fill, and then to see how fast saves are.
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(1);
/// The share of the speed before the fault that counts as recovered; a second's figure is noisy.
const RECOVERED: f64 = 0.7;
const RECOVERY: Duration = Duration::from_mins(1);

/// What a client was told about one request.
#[derive(Debug, Clone)]
struct Told {
    /// The value that it tried to save.
    value: String,
    /// The revision of the answered record, or the error's code; `HTTP` for no answer at all.
    outcome: Result<i64, String>,
    took: Duration,
    at: Instant,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<anyhow::Result<Vec<Told>>>>,
    started: Instant,
    /// Saves a second before the fault.
    speed: f64,
    recovery: Duration,
}

struct Shared {
    gateways: Vec<Gateway>,
    stop: CancellationToken,
    saved: AtomicUsize,
    /// The clients' ledger on disk: what they were told, in the order in which they were.
    diary: Mutex<BufWriter<File>>,
}

struct Gateway {
    api: Api,
    url: String,
    /// Whether a load balancer would send requests to it.
    ready: AtomicBool,
}

impl Load {
    /// Starts clients that save through these gateways, in turn, until told to stop; and sees how
    /// fast they are.
    ///
    /// # Errors
    /// No token can be made, or nothing is saved.
    pub async fn start(gateways: &[String], clients: usize, diary: &Path) -> anyhow::Result<Self> {
        let gateways = gateways
            .iter()
            .map(|url| {
                anyhow::Ok(Gateway {
                    api: Api::new(url, SPACE)?,
                    url: url.clone(),
                    ready: AtomicBool::new(true),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let shared = Arc::new(Shared {
            gateways,
            stop: CancellationToken::new(),
            saved: AtomicUsize::new(0),
            diary: Mutex::new(BufWriter::new(File::create(diary)?)),
        });
        let clients = (0..clients)
            .map(|client| tokio::spawn(save_on(shared.clone(), client)))
            .collect();
        let mut load = Self {
            shared,
            clients,
            started: Instant::now(),
            speed: 0.0,
            recovery: Duration::ZERO,
        };
        sleep(WARM_UP).await;
        load.speed = load.speed_now().await;
        ensure!(load.speed > 0.0, "nothing is saved");
        Ok(load)
    }

    /// From now on as behind a load balancer, which asks each gateway often whether it is ready.
    pub fn balance(&self) {
        for index in 0..self.shared.gateways.len() {
            let shared = self.shared.clone();
            tokio::spawn(async move {
                let gateway = &shared.gateways[index];
                while !shared.stop.is_cancelled() {
                    let answer = reqwest::get(format!("{}/health/ready", gateway.url)).await;
                    let ready = answer.is_ok_and(|answer| answer.status().is_success());
                    gateway.ready.store(ready, Ordering::Relaxed);
                    sleep(REPEAT_PAUSE).await;
                }
            });
        }
    }

    /// Saves a second, over one second.
    async fn speed_now(&self) -> f64 {
        let (before, started) = (self.saved(), Instant::now());
        sleep(WINDOW).await;
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds")]
        let saved = (self.saved() - before) as f64;
        saved / started.elapsed().as_secs_f64()
    }

    fn saved(&self) -> usize {
        self.shared.saved.load(Ordering::Relaxed)
    }

    /// The fault is over: waits until saves are as fast as before it.
    ///
    /// # Errors
    /// They are not, within a minute.
    pub async fn recovers(&mut self) -> anyhow::Result<Duration> {
        let healed = Instant::now();
        loop {
            let waited = healed.elapsed();
            let speed = self.speed_now().await;
            if speed >= self.speed * RECOVERED {
                self.recovery = self.recovery.max(waited);
                return Ok(waited);
            }
            ensure!(
                waited < RECOVERY,
                "{speed:.0} saves a second, a minute after the fault; {:.0} before",
                self.speed
            );
        }
    }

    /// Lets every client finish the save in hand, and compares what they were told with what the
    /// database holds.
    ///
    /// # Errors
    /// A save is not answered with its record in the end, or a request took too long.
    pub async fn finish(self, database: &PgPool) -> anyhow::Result<Report> {
        self.shared.stop.cancel();
        let mut all = Vec::new();
        for client in self.clients {
            all.extend(client.await??);
        }
        let mut report = summary(&all, self.started);
        report.recovery = self.recovery;
        ensure!(
            report.slowest < DEADLINE,
            "a request took {:?}",
            report.slowest
        );
        verify(&all, database, &mut report).await?;
        Ok(report)
    }
}

impl Shared {
    /// The gateway for an attempt: the next in turn that is ready.
    fn gateway(&self, attempt: usize) -> &Gateway {
        let turns = (attempt..).take(self.gateways.len());
        let mut in_turn = turns.map(|turn| &self.gateways[turn % self.gateways.len()]);
        let ready = in_turn.find(|gateway| gateway.ready.load(Ordering::Relaxed));
        ready.unwrap_or(&self.gateways[attempt % self.gateways.len()])
    }

    fn write_down(&self, told: &Told) {
        let mut diary = self.diary.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(diary, "{}\t{:?}\t{:?}", told.value, told.outcome, told.took);
        if told.outcome.is_ok() {
            self.saved.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn save_on(shared: Arc<Shared>, client: usize) -> anyhow::Result<Vec<Told>> {
    let mut told = Vec::new();
    for number in 0.. {
        if shared.stop.is_cancelled() {
            break;
        }
        save_surely(&shared, client, number, &mut told).await?;
    }
    Ok(told)
}

async fn save_surely(
    shared: &Shared,
    client: usize,
    number: usize,
    all: &mut Vec<Told>,
) -> anyhow::Result<()> {
    let value = format!("{client}-{number}");
    let mut input = sample_with("processId", format!("client {client}"));
    input["clientId"] = value.as_str().into();
    let began = Instant::now();
    for attempt in client.. {
        let api = &shared.gateway(attempt).api;
        let api = api.with("idempotency-key", value.as_str());
        let started = Instant::now();
        let outcome = match api.save(&input).await {
            Ok(answer) => match answer.record() {
                Ok(record) => Ok(record["revision"].as_i64().context("no revision")?),
                Err(_) => Err(answer.code()),
            },
            Err(_) => Err("HTTP".to_owned()),
        };
        let told = Told {
            value: value.clone(),
            outcome,
            took: started.elapsed(),
            at: Instant::now(),
        };
        shared.write_down(&told);
        let done = told.outcome.is_ok();
        all.push(told);
        if done {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{value} was never saved: {:?}",
            all.last()
        );
        sleep(REPEAT_PAUSE).await;
    }
    Ok(())
}

fn summary(all: &[Told], started: Instant) -> Report {
    let mut report = Report::default();
    let mut successes = vec![Duration::ZERO, started.elapsed()];
    for told in all {
        report.count(told.outcome.as_ref().err().map(String::as_str), told.took);
        if told.outcome.is_ok() {
            successes.push(told.at - started);
        }
    }
    successes.sort();
    let gaps = successes
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]));
    report.gap = gaps.max().unwrap_or_default();
    report
}

/// Whether the database holds what the clients were told, all of it, once, and in order.
async fn verify(all: &[Told], database: &PgPool, report: &mut Report) -> anyhow::Result<()> {
    let ledger: Vec<(String, String, i64)> = sqlx::query_as(
        "select process_id, client_id, revision from connector_details_ledger
         where process_id like 'client %' order by process_id, revision",
    )
    .fetch_all(database)
    .await?;
    let rows: HashMap<String, (String, i64)> = sqlx::query_as::<_, (String, String, i64)>(
        "select process_id, client_id, revision from connector_details",
    )
    .fetch_all(database)
    .await?
    .into_iter()
    .map(|(record, value, revision)| (record, (value, revision)))
    .collect();
    let decided: HashSet<(&str, i64)> = ledger
        .iter()
        .map(|(_, value, revision)| (value.as_str(), *revision))
        .collect();
    for told in all {
        if let Ok(revision) = told.outcome
            && !decided.contains(&(told.value.as_str(), revision))
        {
            report.lost.push(told.value.clone());
        }
    }
    let number = |value: &str| value.rsplit('-').next().and_then(|n| n.parse::<u64>().ok());
    let mut before: Option<&(String, String, i64)> = None;
    for decision in &ledger {
        let (record, value, revision) = decision;
        let before = before.replace(decision).filter(|it| it.0 == *record);
        let follows = *revision == before.map_or(1, |before| before.2 + 1);
        let is_newer = before.is_none_or(|before| number(&before.1) < number(value));
        if !follows || !is_newer {
            report.twice.push(format!("{value} after {before:?}"));
        }
    }
    // The row has to be what its last decision says.
    for (record, value, revision) in &ledger {
        let row = rows.get(record);
        if row.is_none_or(|(last, count)| revision > count || (revision == count && value != last))
        {
            report.lost.push(format!("{value}, of {row:?}"));
        }
    }
    Ok(())
}
