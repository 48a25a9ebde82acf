//! An attack on a stack, and the proof that it harmed nobody else: another subject, in another Space
//! and with another record, saves all the time and is answered, and no process is restarted.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, SPACE, sample_with},
    processes::Processes,
    stack::{Process, Stack, Variables},
};

/// The Space of whoever is not attacked.
pub const ANOTHER_SPACE: &str = "a Space of somebody else";
/// The longest that any answer may take to somebody else.
pub const PROMPT: Duration = Duration::from_secs(2);

/// A save that takes longer is given up, and counted as an error.
const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(150);

/// Two attacks at once would be measured by each other's bystander.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A stack that is attacked.
pub struct Attack {
    /// The stack.
    pub stack: Stack,
    bystander: Bystander,
    processes: Processes,
    started: Instant,
    _turn: MutexGuard<'static, ()>,
}

impl Attack {
    /// Begins, against a gateway with the limits that it is shipped with, but for the rates.
    ///
    /// # Errors
    /// The stack does not start.
    pub async fn begin() -> anyhow::Result<Self> {
        Self::with(&[]).await
    }

    /// Begins, against a gateway with these variables beside the usual ones.
    ///
    /// # Errors
    /// As [`Attack::begin`].
    pub async fn with(variables: &[(&'static str, &str)]) -> anyhow::Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut stack = Stack::bare().await?;
        stack.start_worker().await?;
        stack.gateway = Some(stack.gate(variables).await?);
        Self::on(stack, turn).await
    }

    /// Begins, against a worker with these variables beside the usual ones.
    ///
    /// # Errors
    /// As [`Attack::begin`].
    pub async fn on_worker_with(variables: Variables) -> anyhow::Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut stack = Stack::bare().await?;
        let worker = stack.worker_with(variables)?;
        worker.becomes("ready").await?;
        stack.workers.push(worker);
        stack.start_gateway().await?;
        Self::on(stack, turn).await
    }

    /// Begins, against a stack in which something has happened before its services are started.
    ///
    /// # Errors
    /// As [`Attack::begin`]; or what was to happen did not.
    pub async fn after<T>(
        before: impl AsyncFnOnce(&Stack) -> anyhow::Result<T>,
    ) -> anyhow::Result<(Self, T)> {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut stack = Stack::bare().await?;
        let happened = before(&stack).await?;
        stack.start_worker().await?;
        stack.start_gateway().await?;
        Ok((Self::on(stack, turn).await?, happened))
    }

    async fn on(stack: Stack, turn: MutexGuard<'static, ()>) -> anyhow::Result<Self> {
        let url = &stack.gateway.as_ref().context("no gateway")?.url;
        Ok(Self {
            bystander: Bystander::start(url).await?,
            processes: Processes::of(&stack).await?,
            started: Instant::now(),
            stack,
            _turn: turn,
        })
    }

    /// The gateway under attack.
    ///
    /// # Errors
    /// There is none.
    pub fn gateway(&self) -> anyhow::Result<&Process> {
        self.stack.gateway.as_ref().context("no gateway")
    }

    /// The worker under attack.
    ///
    /// # Errors
    /// There is none.
    pub fn worker(&self) -> anyhow::Result<&Process> {
        self.stack.workers.first().context("no worker")
    }

    /// The attacker as a client: a member of the samples' Space with a good token.
    ///
    /// # Errors
    /// No token can be made.
    pub fn attacker(&self) -> anyhow::Result<Api> {
        Api::of(&self.gateway()?.url, SPACE, "attacker")
    }

    /// The attack is over: whether the others were answered in time all along, and everything still
    /// runs.
    ///
    /// # Errors
    /// Somebody else was harmed, or a process was restarted.
    pub async fn harmed_nobody(self) -> anyhow::Result<()> {
        self.delayed_nobody_beyond(PROMPT).await
    }

    /// The same, where somebody else may have waited for this long.
    ///
    /// # Errors
    /// As [`Attack::harmed_nobody`].
    pub async fn delayed_nobody_beyond(self, limit: Duration) -> anyhow::Result<()> {
        let took = self.started.elapsed();
        let seen = self.bystander.stop().await?;
        let Seen { saves, slowest, .. } = seen;
        let line = format!("{saves} saves of others in {took:.1?}, the slowest in {slowest:.2?}\n");
        std::io::stderr().write_all(line.as_bytes())?;
        self.processes.still_run(&self.stack).await?;
        seen.unharmed(limit)
    }

    /// The attack is over, and was one on everybody: whether everything still runs, and others are
    /// answered again.
    ///
    /// # Errors
    /// A process was restarted, or saves are not answered in time.
    pub async fn stopped_nobody_for_good(self) -> anyhow::Result<()> {
        let url = self.gateway()?.url.clone();
        drop(self.bystander.stop().await?);
        self.processes.still_run(&self.stack).await?;
        let again = Bystander::start(&url).await?.stop().await?;
        again.unharmed(PROMPT)
    }
}

/// Somebody who saves a numbered value every now and then, each on a connection of its own.
struct Bystander {
    stop: CancellationToken,
    task: JoinHandle<Seen>,
}

/// What the bystander was answered.
#[derive(Debug, Default)]
struct Seen {
    saves: usize,
    slowest: Duration,
    errors: Vec<String>,
}

impl Bystander {
    /// Begins, after a first save that nobody measures: connections are made then.
    async fn start(gateway_url: &str) -> anyhow::Result<Self> {
        let api = Api::of(gateway_url, ANOTHER_SPACE, "bystander")?;
        let api = api.with("connection", "close");
        save(&api, 0).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(save_until(api, stop.clone()));
        Ok(Self { stop, task })
    }

    async fn stop(self) -> anyhow::Result<Seen> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

impl Seen {
    fn unharmed(&self, limit: Duration) -> anyhow::Result<()> {
        ensure!(
            self.errors.is_empty(),
            "{} saves of others failed, the first: {}",
            self.errors.len(),
            self.errors[0]
        );
        ensure!(self.saves > 0, "nobody else saved meanwhile");
        ensure!(
            self.slowest < limit,
            "a save of somebody else took {:?}",
            self.slowest
        );
        Ok(())
    }
}

async fn save_until(api: Api, stop: CancellationToken) -> Seen {
    let mut seen = Seen::default();
    loop {
        let started = Instant::now();
        match save(&api, seen.saves + 1).await {
            Ok(()) => seen.saves += 1,
            Err(error) => seen.errors.push(format!("{error:#}")),
        }
        seen.slowest = seen.slowest.max(started.elapsed());
        if stop
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return seen;
        }
    }
}

async fn save(api: &Api, number: usize) -> anyhow::Result<()> {
    let mut input = sample_with("catalogGuid", ANOTHER_SPACE);
    let client = format!("client {number}");
    input["clientId"] = client.clone().into();
    let answer = timeout(DEADLINE, api.save(&input)).await;
    let record = answer.context("no answer")??.record()?;
    ensure!(record["clientId"] == client, "another record: {record}");
    Ok(())
}
