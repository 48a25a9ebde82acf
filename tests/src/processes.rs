//! The pids, start times and memory of a stack's processes.

use std::fs;

use anyhow::{Context as _, ensure};
use dev::process::{self, status_kib};
use serde_json::Value;

use crate::{
    eventually,
    stack::{Process, Stack},
};

/// The processes of a stack at one moment.
#[derive(Debug)]
pub struct Processes {
    services: Vec<Running>,
    broker: Broker,
    /// When the database was started, and its checkpointer: a new one after a crash of any backend.
    database: (String, i32),
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    pid: u32,
    /// In clock ticks after boot, because a pid can be used again.
    started: String,
}

#[derive(Debug)]
struct Broker {
    pid: String,
    uptime_ms: u64,
}

impl Processes {
    /// Reads the state of the gateway, the workers and both servers.
    ///
    /// # Errors
    /// One of them is not running.
    pub async fn of(stack: &Stack) -> anyhow::Result<Self> {
        let gateway = stack.gateway.iter().map(|gateway| ("the gateway", gateway));
        let workers = stack.workers.iter().map(|worker| ("the worker", worker));
        let services = gateway.chain(workers).map(|(name, process)| {
            let pid = process.pid;
            let started = process::started(pid);
            let started = started.with_context(|| format!("{name} does not run"))?;
            anyhow::Ok(Running { name, pid, started })
        });
        Ok(Self {
            services: services.collect::<anyhow::Result<_>>()?,
            broker: Broker::of(stack).await?,
            database: database(stack).await?,
        })
    }

    /// Checks that all of them still run.
    ///
    /// # Errors
    /// One of them ended or was restarted.
    pub async fn still_run(&self, stack: &Stack) -> anyhow::Result<()> {
        for Running { name, pid, started } in &self.services {
            let now = process::started(*pid);
            ensure!(
                now.as_ref() == Some(started),
                "{name} does not run any more"
            );
        }
        let broker = Broker::of(stack).await?;
        ensure!(
            broker.pid == self.broker.pid && broker.uptime_ms >= self.broker.uptime_ms,
            "the broker was restarted: {:?}, then {broker:?}",
            self.broker
        );
        let database = database(stack).await?;
        ensure!(
            database == self.database,
            "the database was restarted: {:?}, then {database:?}",
            self.database
        );
        Ok(())
    }
}

impl Broker {
    async fn of(stack: &Stack) -> anyhow::Result<Self> {
        // The management plugin has no data during the first seconds.
        eventually("the broker to tell its pid", async || {
            let nodes = stack.broker("nodes").await?;
            let pid = nodes[0]["os_pid"].as_str().map(ToOwned::to_owned);
            let uptime_ms = nodes[0]["uptime"].as_u64();
            Ok(pid
                .zip(uptime_ms)
                .map(|(pid, uptime_ms)| Self { pid, uptime_ms }))
        })
        .await
    }
}

async fn database(stack: &Stack) -> anyhow::Result<(String, i32)> {
    let row = sqlx::query_as(
        "select pg_postmaster_start_time()::text, pid from pg_stat_activity
         where backend_type = 'checkpointer'",
    );
    Ok(row.fetch_one(&stack.database).await?)
}

/// How much memory a process takes from now on.
#[derive(Debug)]
pub struct Memory {
    pid: u32,
    before_kib: u64,
}

impl Memory {
    /// Begins to watch.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(process: &Process) -> anyhow::Result<Self> {
        let pid = process.pid;
        // The kernel forgets the peak so far.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").context("no peak can be measured")?;
        let before_kib = status_kib(pid, "VmRSS")?;
        Ok(Self { pid, before_kib })
    }

    /// How much more than at the beginning the process had resident at any time since, in MiB.
    ///
    /// # Errors
    /// The process is gone.
    pub fn grew_mib(&self) -> anyhow::Result<u64> {
        Ok(status_kib(self.pid, "VmHWM")?.saturating_sub(self.before_kib) / 1024)
    }
}

/// How many messages wait in a queue of the stack, without taking one.
///
/// # Errors
/// The broker does not answer, or has no such queue.
pub async fn waiting(stack: &Stack, queue: &str) -> anyhow::Result<u64> {
    let answer = stack
        .broker(&format!("queues/{}/{queue}", stack.vhost))
        .await?;
    Ok(answer.get("messages").and_then(Value::as_u64).unwrap_or(0))
}

/// The value of a counter, summed over its labels; 0 if it does not exist.
///
/// # Errors
/// The service does not answer, or its answer can't be read.
pub async fn counter(process: &Process, name: &str) -> anyhow::Result<f64> {
    let metrics = process.metrics().await?;
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{'])
            .then(|| line.rsplit(' ').next())?
    });
    let mut sum = 0.0;
    for value in values {
        sum += value.parse::<f64>()?;
    }
    Ok(sum)
}
