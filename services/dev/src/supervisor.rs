//! A program that is kept running: started again when it dies, stopped when we stop.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    container,
    process::{signal, started},
};

/// A program that does not stop in good order within this time is killed.
const GRACE: Duration = Duration::from_secs(20);
const RESTART_PAUSE: Duration = Duration::from_millis(300);
const PID_DEADLINE: Duration = Duration::from_secs(20);

/// How to run a program.
pub struct Program {
    /// For messages and the log's name.
    pub name: String,
    /// Makes the command, anew for each start.
    pub command: Box<dyn Fn() -> Command + Send + Sync>,
    /// Where its output goes, appended.
    pub log: PathBuf,
    /// Where the real server writes its pid, where the child is only a wrapper around it.
    pub pid_file: Option<PathBuf>,
    /// What stops it in good order.
    pub stop: Stop,
}

/// How a program is stopped.
#[derive(Debug, Clone)]
pub enum Stop {
    /// By a signal to the server itself.
    Signal(Signal),
    /// By `docker stop`: the child is only the client that waits for the container.
    Container(String),
}

/// A program that is being kept.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// Its name.
    pub name: String,
    /// The server's own pid; none while it is being started, and none of a container.
    pub pid: watch::Receiver<Option<u32>>,
    stop: Stop,
}

impl Supervised {
    /// Sends a signal to the program, in its container where it has one.
    ///
    /// # Errors
    /// It does not run at the moment.
    pub async fn signal(&self, how: Signal) -> anyhow::Result<()> {
        let pid = *self.pid.borrow();
        match (&self.stop, pid) {
            (Stop::Container(name), _) => container::signal(name, how).await,
            (Stop::Signal(_), Some(pid)) => signal(pid, how),
            (Stop::Signal(_), None) => anyhow::bail!("{} does not run", self.name),
        }
    }

    /// Stops the program where it stands, with all of its processes: Postgres answers from others
    /// than the one that was started.
    ///
    /// # Errors
    /// It does not run at the moment.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::SIGSTOP).await
    }

    /// Lets a frozen program go on.
    ///
    /// # Errors
    /// It does not run.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::SIGCONT).await
    }

    async fn signal_all(&self, how: Signal) -> anyhow::Result<()> {
        if let Stop::Container(name) = &self.stop {
            let paused = how == Signal::SIGSTOP;
            return container::pause(name, paused).await;
        }
        // A parent that runs starts and ends children; the kernel's list of them is whole only
        // while it stands still. So it is stopped first, and goes on last.
        let parent = *self.pid.borrow();
        if how == Signal::SIGSTOP {
            self.signal(how).await?;
        }
        for child in parent.iter().flat_map(|parent| children(*parent)) {
            let _ = signal(child, how);
        }
        if how != Signal::SIGSTOP {
            self.signal(how).await?;
        }
        Ok(())
    }
}

fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let pids = std::fs::read_to_string(path).unwrap_or_default();
    pids.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Everything that was started. Whatever becomes of those who started it, it can be stopped here.
#[derive(Debug, Default)]
pub struct Supervisor(Mutex<Vec<(CancellationToken, JoinHandle<()>)>>);

impl Supervisor {
    /// Starts a program and keeps it.
    ///
    /// # Errors
    /// It can't be started the first time. Later failures are told and tried again.
    pub fn keep(&self, program: Program) -> anyhow::Result<Supervised> {
        let first = program.spawn()?;
        let (sender, pid) = watch::channel(None);
        let stop = CancellationToken::new();
        let (name, how) = (program.name.clone(), program.stop.clone());
        let task = tokio::spawn(program.run(first, sender, stop.clone()));
        self.running().push((stop, task));
        Ok(Supervised {
            name,
            pid,
            stop: how,
        })
    }

    /// Stops everything, the last that was started first, and waits until it has ended.
    pub async fn stop(&self) {
        while self.stop_last().await {}
    }

    /// Stops what was started last, and waits until it has ended. False: nothing runs.
    pub async fn stop_last(&self) -> bool {
        let last = self.running().pop();
        let Some((stop, task)) = last else {
            return false;
        };
        stop.cancel();
        let _ = task.await;
        true
    }

    /// Ends everything at once, without waiting, where there is no time for good order: when a
    /// test has failed. `kept` says what runs.
    pub fn kill<'a>(&self, kept: impl Iterator<Item = &'a Supervised>) {
        for (_, task) in self.running().drain(..) {
            task.abort();
        }
        for pid in kept.filter_map(|kept| *kept.pid.borrow()) {
            let _ = signal(pid, Signal::SIGKILL);
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<(CancellationToken, JoinHandle<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Program {
    fn spawn(&self) -> anyhow::Result<Child> {
        if let Some(path) = &self.pid_file {
            let _ = std::fs::remove_file(path);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} can't be opened", self.log.display()))?;
        (self.command)()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for us; we stop our programs in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))
    }

    async fn run(
        self,
        mut child: Child,
        sender: watch::Sender<Option<u32>>,
        stop: CancellationToken,
    ) {
        loop {
            let server = self.server_pid(&mut child).await;
            let born = server.and_then(started);
            sender.send_replace(match self.stop {
                Stop::Signal(_) => server,
                Stop::Container(_) => None,
            });
            tokio::select! {
                _ = child.wait() => {}
                () = stop.cancelled() => {
                    self.stop(child, server).await;
                    return;
                }
            }
            sender.send_replace(None);
            // The wrapper may have died alone; its server must not hold the port and the data. Its
            // pid may be another's by now, and only the time of its start tells.
            if let Some(server) = server
                && born.is_some()
                && started(server) == born
            {
                let _ = signal(server, Signal::SIGKILL);
            }
            eprintln!("{} ended; starting it again", self.name);
            child = loop {
                sleep(RESTART_PAUSE).await;
                match self.spawn() {
                    Ok(child) => break child,
                    Err(_) if stop.is_cancelled() => return,
                    Err(error) => eprintln!("{error:#}"),
                }
            };
        }
    }

    async fn server_pid(&self, child: &mut Child) -> Option<u32> {
        let Some(path) = &self.pid_file else {
            return child.id();
        };
        let deadline = Instant::now() + PID_DEADLINE;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            if let Some(pid) = read_pid(path) {
                return Some(pid);
            }
            sleep(Duration::from_millis(50)).await;
        }
        child.id()
    }

    async fn stop(&self, mut child: Child, server: Option<u32>) {
        match &self.stop {
            Stop::Signal(how) => {
                if let Some(server) = server {
                    let _ = signal(server, *how);
                }
            }
            Stop::Container(name) => container::stop(name).await,
        }
        if timeout(GRACE, child.wait()).await.is_err() {
            if let Some(server) = server {
                let _ = signal(server, Signal::SIGKILL);
            }
            let _ = child.kill().await;
        }
    }
}

fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
