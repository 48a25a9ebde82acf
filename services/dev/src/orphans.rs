//! Stops what a killed run left running. Each run writes the pids of its processes and the names of
//! its containers to files; the next run reads them.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

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
/// Before the pid of a process that leads a process group.
const GROUP: &str = "group ";
/// A run that is killed within this time after a program was started leaves it running.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);
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
            let mut written: Option<String> = None;
            while let Some(lines) = supervisor.upgrade().map(|it| record(&it)) {
                if written.as_ref() != Some(&lines) {
                    if let Err(error) = state::replace(&folder.join(PIDS), lines.as_bytes()) {
                        eprintln!(
                            "if this run is killed, its programs will not be stopped: {error:#}"
                        );
                        return;
                    }
                    written = Some(lines);
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

/// A line for each pid that a supervisor has, with the start time of the process.
fn record(supervisor: &Supervisor) -> String {
    let processes = supervisor.pids().into_iter().map(|pid| ("", pid));
    let groups = supervisor.leaders().into_iter().map(|pid| (GROUP, pid));
    processes
        .chain(groups)
        .filter_map(|(kind, pid)| Some(format!("{kind}{pid} {}\n", started(pid)?)))
        .collect()
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
    let text = fs::read_to_string(folder.join(PIDS));
    if let Ok(text) = &text {
        stop_processes(text);
    }
    // Last, because a client of Docker that still ran could create its container after this.
    remove_containers(folder);
    text.is_ok()
}

/// Asks the servers to stop, and then kills what is left of them and of all process groups.
fn stop_processes(text: &str) {
    let processes: Vec<Orphan<'_>> = text
        .lines()
        .filter_map(Orphan::parse)
        .filter(Orphan::is_running)
        .collect();
    for Orphan { pid, .. } in &processes {
        eprintln!("stopping process {pid}, which a killed run left running");
        let _ = process::signal(*pid, Signal::SIGTERM);
    }
    wait(&processes);
    // The groups first: once its leader has ended, a group's number may belong to another one.
    let groups: Vec<Orphan<'_>> = text
        .lines()
        .filter_map(|line| Orphan::parse(line.strip_prefix(GROUP)?))
        .filter(Orphan::is_running)
        .collect();
    for Orphan { pid, .. } in &groups {
        eprintln!("killing process group {pid}, which a killed run left running");
        let _ = process::signal_group(*pid, Signal::SIGKILL);
    }
    for process in processes.iter().filter(|it| it.is_running()) {
        let _ = process::signal(process.pid, Signal::SIGKILL);
    }
    wait(&groups);
}

/// Waits a limited time until all of them have ended.
fn wait(orphans: &[Orphan<'_>]) {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while orphans.iter().any(Orphan::is_running) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

/// A process of a killed run.
struct Orphan<'a> {
    pid: u32,
    started: &'a str,
}

impl<'a> Orphan<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (pid, started) = line.split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started,
        })
    }

    /// The pid may belong to another process by now. The start time shows whether it does.
    fn is_running(&self) -> bool {
        started(self.pid).as_deref() == Some(self.started)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::{
        io::{AsyncBufReadExt as _, BufReader},
        process::Command,
    };

    use super::*;

    #[tokio::test]
    async fn a_group_is_killed_only_if_its_leader_has_the_start_time() -> anyhow::Result<()> {
        let mut leader = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let _group = process::ProcessGroup::of(&leader);
        let (Some(output), Some(pid)) = (leader.stdout.take(), leader.id()) else {
            anyhow::bail!("no output or no pid");
        };
        let line = BufReader::new(output).lines().next_line().await?;
        let inner: u32 = line.unwrap_or_default().parse()?;

        stop_processes(&format!("{GROUP}{pid} 1\n{pid} 1\n"));
        assert!(started(inner).is_some(), "another process was killed");

        let then = started(pid).unwrap_or_default();
        stop_processes(&format!("{GROUP}{pid} {then}\n"));
        leader.wait().await?;
        for _ in 0..100 {
            if started(inner).is_none() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        anyhow::bail!("the process still runs")
    }
}
