//! One program that is restarted whenever it ends, until it is asked to stop.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    container,
    process::{ProcessGroup, signal, started},
};

/// A program that has not stopped after this time is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const RESTART_DELAY: Duration = Duration::from_millis(300);
const PID_FILE_TIMEOUT: Duration = Duration::from_secs(20);
const PID_FILE_POLL: Duration = Duration::from_millis(50);

/// How to run a program.
pub struct Program {
    /// The name in messages.
    pub name: String,
    /// Makes the command, once for each start.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// The file that its output is appended to.
    pub log: PathBuf,
    /// The file that the server writes its pid to, if the child process is only a wrapper.
    pub pid_file: Option<PathBuf>,
    /// How to stop it gracefully.
    pub stop: Stop,
}

/// How a program is stopped gracefully.
#[derive(Debug, Clone)]
pub enum Stop {
    /// Send a signal to the server.
    Signal(Signal),
    /// Run `docker stop`. The child process is only the client that waits for the container.
    Container(String),
}

/// A child process with its process group. A server's wrapper runs the server in this group.
pub(super) struct Process {
    // The group is dropped first: no other process has its number until the child was waited for.
    _group: ProcessGroup,
    child: Child,
}

impl Process {
    /// The pid of the child, which leads the process group; `None` once it was waited for.
    pub(super) fn leader(&self) -> Option<u32> {
        self.child.id()
    }
}

impl Program {
    pub(super) fn spawn(&self) -> anyhow::Result<Process> {
        if let Some(path) = &self.pid_file {
            let _ = std::fs::remove_file(path);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} can't be opened", self.log.display()))?;
        let child = (self.command)()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal must reach this process only; it stops its programs in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))?;
        Ok(Process {
            _group: ProcessGroup::of(&child),
            child,
        })
    }

    /// Restarts the program whenever it ends, until `stop` is cancelled. `pid` always has the
    /// current pid, and `leader` that of the child process.
    pub(super) async fn run(
        self,
        mut process: Process,
        pid: watch::Sender<Option<u32>>,
        leader: watch::Sender<Option<u32>>,
        stop: CancellationToken,
    ) {
        loop {
            let server = self.server_pid(&mut process.child).await;
            let start_time = server.and_then(started);
            pid.send_replace(match self.stop {
                Stop::Signal(_) => server,
                Stop::Container(_) => None,
            });
            tokio::select! {
                _ = process.child.wait() => {}
                () = stop.cancelled() => {
                    self.stop(process, server).await;
                    pid.send_replace(None);
                    return;
                }
            }
            pid.send_replace(None);
            // The wrapper may have died alone. Its server must not keep the port and the data. The
            // start time shows whether the pid belongs to another process by now.
            if let Some(server) = server
                && start_time.is_some()
                && started(server) == start_time
            {
                let _ = signal(server, Signal::SIGKILL);
            }
            drop(process);
            leader.send_replace(None);
            eprintln!("{} ended; restarting it", self.name);
            let Some(restarted) = self.restart(&stop).await else {
                return;
            };
            process = restarted;
            leader.send_replace(process.leader());
        }
    }

    /// Tries until the program starts; `None` once `stop` is cancelled.
    async fn restart(&self, stop: &CancellationToken) -> Option<Process> {
        loop {
            sleep(RESTART_DELAY).await;
            match self.spawn() {
                Ok(process) => return Some(process),
                Err(_) if stop.is_cancelled() => return None,
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }

    async fn server_pid(&self, child: &mut Child) -> Option<u32> {
        let Some(path) = &self.pid_file else {
            return child.id();
        };
        let deadline = Instant::now() + PID_FILE_TIMEOUT;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            if let Some(pid) = read_pid(path) {
                return Some(pid);
            }
            sleep(PID_FILE_POLL).await;
        }
        child.id()
    }

    async fn stop(&self, mut process: Process, server: Option<u32>) {
        match &self.stop {
            Stop::Signal(stop_signal) => {
                if let Some(server) = server {
                    let _ = signal(server, *stop_signal);
                }
            }
            Stop::Container(name) => container::stop(name).await,
        }
        if timeout(STOP_TIMEOUT, process.child.wait()).await.is_err() {
            if let Some(server) = server {
                let _ = signal(server, Signal::SIGKILL);
            }
            let _ = process.child.kill().await;
        }
    }
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
