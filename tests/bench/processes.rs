//! Processor time and memory of processes, from `/proc`.

use std::{collections::BTreeMap, fs, time::Duration};

use dev::{
    process::{children, status_kib},
    supervisor::Supervised,
};
use tokio::time::timeout;

const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Clock ticks per second in `/proc`: 100 on every common Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes by name.
#[derive(Debug, Default)]
pub struct Processes(BTreeMap<String, u32>);

/// Seconds of processor time, by process.
#[derive(Debug, Default, Clone)]
pub struct Cpu(pub BTreeMap<String, f64>);

impl Cpu {
    /// The time since an earlier measurement.
    pub fn since(&self, before: &Self) -> Self {
        let spent =
            |(name, now): (&String, &f64)| (name.clone(), now - before.0.get(name).unwrap_or(&0.0));
        Self(self.0.iter().map(spent).collect())
    }
}

impl Processes {
    /// Adds a process with all of its children. A container is ignored, because it has no pid here.
    pub async fn add(&mut self, supervised: &Supervised) {
        let mut pid = supervised.pid.clone();
        let started = timeout(START_TIMEOUT, pid.wait_for(Option::is_some)).await;
        if let Ok(Ok(started)) = started
            && let Some(pid) = *started
        {
            self.0.insert(supervised.name.clone(), pid);
        }
    }

    /// Seconds of processor time since each process started.
    pub fn cpu(&self) -> Cpu {
        let spent = |(name, pid): (&String, &u32)| {
            let all = std::iter::once(*pid).chain(children(*pid));
            (
                name.clone(),
                all.filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND,
            )
        };
        Cpu(self.0.iter().map(spent).collect())
    }

    /// Resident memory in MiB, without child processes.
    pub fn memory(&self) -> BTreeMap<String, f64> {
        let resident = |(name, pid): (&String, &u32)| {
            let kib = u32::try_from(status_kib(*pid, "VmRSS").ok()?).ok()?;
            Some((name.clone(), f64::from(kib) / 1024.0))
        };
        self.0.iter().filter_map(resident).collect()
    }
}

/// User and system time of the process and of its children that have ended.
fn ticks(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain any character; the third field follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let times = rest.split_whitespace().skip(11).take(4);
    Some(times.filter_map(|time| time.parse::<f64>().ok()).sum())
}
