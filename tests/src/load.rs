//! Clients that save through the gateways, log each answer, and compare the answers with the
//! database.
//!
//! Each client owns a record and saves numbered values into it, one after the other. A save that is
//! not confirmed is repeated with the same `Idempotency-Key` until it is. So in the end the ledger
//! has every value once, in the order of the numbers.

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
/// A save that is not confirmed after this time counts as lost.
const PATIENCE: Duration = Duration::from_secs(150);
/// The time before the fault in which caches fill. The speed is measured after it.
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(1);
/// The share of the earlier speed that counts as recovered. The speed over one second varies.
const RECOVERED: f64 = 0.7;
const RECOVERY: Duration = Duration::from_mins(1);

/// One request of a client and its result.
#[derive(Debug, Clone)]
struct Attempt {
    /// The value to save.
    value: String,
    /// The revision of the saved record, or the error's code; `HTTP` if there was no answer.
    outcome: Result<i64, String>,
    took: Duration,
    at: Instant,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<anyhow::Result<Vec<Attempt>>>>,
    started: Instant,
    /// Saves per second before the fault.
    speed: f64,
    recovery: Duration,
}

struct Shared {
    gateways: Vec<Gateway>,
    stop: CancellationToken,
    saved: AtomicUsize,
    /// The log of all results.
    log: Mutex<BufWriter<File>>,
}

struct Gateway {
    api: Api,
    url: String,
    /// Whether the gateway is ready for requests.
    ready: AtomicBool,
}

impl Load {
    /// Starts clients that save through these gateways in turn, and measures how fast they are.
    ///
    /// # Errors
    /// No token can be made, or nothing is saved.
    pub async fn start(gateways: &[String], clients: usize, log: &Path) -> anyhow::Result<Self> {
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
            log: Mutex::new(BufWriter::new(File::create(log)?)),
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

    /// From now on acts like a load balancer: polls the readiness of each gateway and skips those
    /// that are not ready.
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

    /// Saves per second, measured over one second.
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

    /// Waits after the fault until saves are as fast as before it.
    ///
    /// # Errors
    /// They are still slower after a minute.
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

    /// Stops the clients after their current save, and compares their results with the database.
    ///
    /// # Errors
    /// A save is never confirmed, or a request takes too long.
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
    /// The gateway for an attempt: the next one that is ready.
    fn gateway(&self, attempt: usize) -> &Gateway {
        let turns = (attempt..).take(self.gateways.len());
        let mut in_turn = turns.map(|turn| &self.gateways[turn % self.gateways.len()]);
        let ready = in_turn.find(|gateway| gateway.ready.load(Ordering::Relaxed));
        ready.unwrap_or(&self.gateways[attempt % self.gateways.len()])
    }

    fn write_down(&self, attempt: &Attempt) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(
            log,
            "{}\t{:?}\t{:?}",
            attempt.value, attempt.outcome, attempt.took
        );
        if attempt.outcome.is_ok() {
            self.saved.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn save_on(shared: Arc<Shared>, client: usize) -> anyhow::Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    for number in 0.. {
        if shared.stop.is_cancelled() {
            break;
        }
        save_until_confirmed(&shared, client, number, &mut attempts).await?;
    }
    Ok(attempts)
}

async fn save_until_confirmed(
    shared: &Shared,
    client: usize,
    number: usize,
    all: &mut Vec<Attempt>,
) -> anyhow::Result<()> {
    let value = format!("{client}-{number}");
    let mut input = sample_with("processId", format!("client {client}"));
    input["clientId"] = value.as_str().into();
    let began = Instant::now();
    for turn in client.. {
        let api = &shared.gateway(turn).api;
        let api = api.with("idempotency-key", value.as_str());
        let started = Instant::now();
        let outcome = match api.save(&input).await {
            Ok(answer) => match answer.record() {
                Ok(record) => Ok(record["revision"].as_i64().context("no revision")?),
                Err(_) => Err(answer.code()),
            },
            Err(_) => Err("HTTP".to_owned()),
        };
        let attempt = Attempt {
            value: value.clone(),
            outcome,
            took: started.elapsed(),
            at: Instant::now(),
        };
        shared.write_down(&attempt);
        let done = attempt.outcome.is_ok();
        all.push(attempt);
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

fn summary(all: &[Attempt], started: Instant) -> Report {
    let mut report = Report::default();
    let mut successes = vec![Duration::ZERO, started.elapsed()];
    for attempt in all {
        report.count(
            attempt.outcome.as_ref().err().map(String::as_str),
            attempt.took,
        );
        if attempt.outcome.is_ok() {
            successes.push(attempt.at - started);
        }
    }
    successes.sort();
    let gaps = successes
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]));
    report.gap = gaps.max().unwrap_or_default();
    report
}

/// Checks that the database holds every confirmed save once and in order.
async fn verify(all: &[Attempt], database: &PgPool, report: &mut Report) -> anyhow::Result<()> {
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
    for attempt in all {
        if let Ok(revision) = attempt.outcome
            && !decided.contains(&(attempt.value.as_str(), revision))
        {
            report.lost.push(attempt.value.clone());
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
    // The row must match the last entry of its record in the ledger.
    for (record, value, revision) in &ledger {
        let row = rows.get(record);
        if row.is_none_or(|(last, count)| revision > count || (revision == count && value != last))
        {
            report.lost.push(format!("{value}, of {row:?}"));
        }
    }
    Ok(())
}
