//! Attacks a stack while a bystander saves: another subject with another record in another Space. A
//! test passes only if the bystander's saves succeed in time and no process restarts.

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

/// The bystander's Space.
pub const ANOTHER_SPACE: &str = "a Space of another customer";
/// The longest time that a save of the bystander may take.
pub const PROMPT: Duration = Duration::from_secs(2);

/// A save that takes longer is counted as an error.
const DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(150);

/// Two attacks at the same time would affect each other's bystander.
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
    /// Starts a stack with the default limits, except for the rate limits.
    ///
    /// # Errors
    /// The stack does not start.
    pub async fn begin() -> anyhow::Result<Self> {
        Self::with(&[]).await
    }

    /// Starts a stack whose gateway has these variables too.
    ///
    /// # Errors
    /// As [`Attack::begin`].
    pub async fn with(variables: &[(&'static str, &str)]) -> anyhow::Result<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut stack = Stack::bare().await?;
        stack.start_worker().await?;
        stack.gateway = Some(stack.ready_gateway(variables).await?);
        Self::on(stack, turn).await
    }

    /// Starts a stack whose worker has these variables too.
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

    /// Prepares a stack before its services start.
    ///
    /// # Errors
    /// As [`Attack::begin`]; or the preparation fails.
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

    /// The attacker's client. It has a valid token for the samples' Space.
    ///
    /// # Errors
    /// No token can be made.
    pub fn attacker(&self) -> anyhow::Result<Api> {
        Api::for_subject(&self.gateway()?.url, SPACE, "attacker")
    }

    /// Ends the attack, and checks that the bystander's saves were fast and that all processes
    /// still run.
    ///
    /// # Errors
    /// A save of the bystander failed or was slow, or a process restarted.
    pub async fn others_were_unaffected(self) -> anyhow::Result<()> {
        self.others_waited_at_most(PROMPT).await
    }

    /// The same with another limit for the bystander's slowest save.
    ///
    /// # Errors
    /// As [`Attack::others_were_unaffected`].
    pub async fn others_waited_at_most(self, limit: Duration) -> anyhow::Result<()> {
        let took = self.started.elapsed();
        let observed = self.bystander.stop().await?;
        let Observed { saves, slowest, .. } = observed;
        let line = format!("{saves} saves of others in {took:.1?}, the slowest in {slowest:.2?}\n");
        std::io::stderr().write_all(line.as_bytes())?;
        self.processes.still_run(&self.stack).await?;
        observed.unharmed(limit)
    }

    /// Ends an attack that may disturb the bystander. Checks that all processes still run and that
    /// saves succeed again.
    ///
    /// # Errors
    /// A process restarted, or saves are still slow.
    pub async fn others_recovered(self) -> anyhow::Result<()> {
        let url = self.gateway()?.url.clone();
        drop(self.bystander.stop().await?);
        self.processes.still_run(&self.stack).await?;
        let again = Bystander::start(&url).await?.stop().await?;
        again.unharmed(PROMPT)
    }
}

/// Saves a numbered value at an interval, each on a new connection.
struct Bystander {
    stop: CancellationToken,
    task: JoinHandle<Observed>,
}

/// The bystander's results.
#[derive(Debug, Default)]
struct Observed {
    saves: usize,
    slowest: Duration,
    errors: Vec<String>,
}

impl Bystander {
    /// Starts after one save that is not measured, because the first save opens connections.
    async fn start(gateway_url: &str) -> anyhow::Result<Self> {
        let api = Api::for_subject(gateway_url, ANOTHER_SPACE, "bystander")?;
        let api = api.with("connection", "close");
        save(&api, 0).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(save_until(api, stop.clone()));
        Ok(Self { stop, task })
    }

    async fn stop(self) -> anyhow::Result<Observed> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}

impl Observed {
    fn unharmed(&self, limit: Duration) -> anyhow::Result<()> {
        ensure!(
            self.errors.is_empty(),
            "{} saves of others failed, the first: {}",
            self.errors.len(),
            self.errors[0]
        );
        ensure!(self.saves > 0, "the bystander saved nothing");
        ensure!(
            self.slowest < limit,
            "a save of the bystander took {:?}",
            self.slowest
        );
        Ok(())
    }
}

async fn save_until(api: Api, stop: CancellationToken) -> Observed {
    let mut observed = Observed::default();
    loop {
        let started = Instant::now();
        match save(&api, observed.saves + 1).await {
            Ok(()) => observed.saves += 1,
            Err(error) => observed.errors.push(format!("{error:#}")),
        }
        observed.slowest = observed.slowest.max(started.elapsed());
        if stop
            .run_until_cancelled(tokio::time::sleep(PAUSE))
            .await
            .is_none()
        {
            return observed;
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
