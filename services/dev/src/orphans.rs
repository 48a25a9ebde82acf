//! Stops what a killed run left running. Each run writes the pids of its processes and the names of
//! its containers to files; the next run reads them.

use std::{fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    container,
    process::{self, started},
    state,
    supervisor::Supervisor,
};

const PIDS: &str = "pids";
const CONTAINERS: &str = "containers";
const WRITE_INTERVAL: Duration = Duration::from_millis(500);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Writes the pids of the programs that a supervisor runs to disk at an interval, because a program
/// gets another pid when it is restarted. Dropping it ends that.
#[derive(Debug)]
pub struct PidWriter(AbortOnDropHandle<()>);

impl PidWriter {
    /// Starts a task that writes to a file in `folder`.
    #[must_use]
    pub fn start(folder: &Path, supervisor: &Arc<Supervisor>) -> Self {
        let folder = folder.to_owned();
        // A weak reference, because dropping the supervisor kills its programs.
        let supervisor = Arc::downgrade(supervisor);
        Self(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(pids) = supervisor.upgrade().map(|it| it.pids()) {
                if let Err(error) = write(&folder, &pids) {
                    eprintln!("if this run is killed, its programs will not be stopped: {error:#}");
                    return;
                }
                sleep(WRITE_INTERVAL).await;
            }
        })))
    }

    /// Ends the task. Nothing is written after this. Call it before the supervisor stops its programs,
    /// because a program that takes long to stop must stay in the file.
    pub async fn stop(&mut self) {
        // A task must not be awaited a second time.
        if !self.0.is_finished() {
            self.0.abort();
            let _ = (&mut self.0).await;
        }
    }
}

fn write(folder: &Path, pids: &[u32]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for pid in pids {
        if let Some(started) = started(*pid) {
            writeln!(lines, "{pid} {started}")?;
        }
    }
    state::replace(&folder.join(PIDS), lines.as_bytes())
}

/// Writes the names of containers to a file in `folder`. Call it before they are started.
///
/// # Errors
/// The file can't be written.
pub fn remember_containers(folder: &Path, names: &[String]) -> anyhow::Result<()> {
    state::replace(&folder.join(CONTAINERS), names.join("\n").as_bytes())
}

/// Deletes the files, because everything was stopped.
pub fn forget(folder: &Path) {
    for file in [PIDS, CONTAINERS] {
        let _ = fs::remove_file(folder.join(file));
    }
}

/// Removes the containers whose names are in this folder.
pub fn remove_containers(folder: &Path) {
    let names = fs::read_to_string(folder.join(CONTAINERS)).unwrap_or_default();
    let names: Vec<String> = names.lines().map(ToOwned::to_owned).collect();
    container::remove(&names);
}

/// Stops what an earlier run in this folder left running. False if the run had not written any
/// pids.
#[must_use]
pub fn stop(folder: &Path) -> bool {
    remove_containers(folder);
    let Ok(text) = fs::read_to_string(folder.join(PIDS)) else {
        return false;
    };
    let orphans: Vec<u32> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(pid, then)| Some((pid.parse().ok()?, then)))
        // The pid may belong to another process by now. The start time shows whether it does.
        .filter(|(pid, then)| started(*pid).as_deref() == Some(*then))
        .map(|(pid, _)| pid)
        .collect();
    for pid in &orphans {
        eprintln!("stopping process {pid}, which a killed run left running");
        let _ = process::signal(*pid, Signal::SIGTERM);
    }
    let polls = STOP_TIMEOUT.as_millis() / POLL.as_millis();
    for _ in 0..polls {
        if orphans.iter().all(|pid| started(*pid).is_none()) {
            return true;
        }
        std::thread::sleep(POLL);
    }
    for pid in &orphans {
        let _ = process::signal(*pid, Signal::SIGKILL);
    }
    true
}
