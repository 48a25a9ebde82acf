//! Runs programs, restarts each one that ends, and stops them all.

mod program;

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::sys::signal::Signal;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::program::{Program, Stop};
use crate::{
    container,
    process::{children, signal},
};

/// A program that a [`Supervisor`] runs.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// Its name.
    pub name: String,
    /// The server's own pid; `None` while it starts, and for a container.
    pub pid: watch::Receiver<Option<u32>>,
    stop: Stop,
}

impl Supervised {
    /// Sends a signal to the program, in its container if it has one.
    ///
    /// # Errors
    /// It is not running.
    pub async fn signal(&self, number: Signal) -> anyhow::Result<()> {
        let pid = *self.pid.borrow();
        match (&self.stop, pid) {
            (Stop::Container(name), _) => container::signal(name, number).await,
            (Stop::Signal(_), Some(pid)) => signal(pid, number),
            (Stop::Signal(_), None) => anyhow::bail!("{} is not running", self.name),
        }
    }

    /// Freezes the program with all of its child processes, because Postgres serves each client
    /// from a child process.
    ///
    /// # Errors
    /// It is not running.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::SIGSTOP).await
    }

    /// Resumes a frozen program.
    ///
    /// # Errors
    /// It is not running.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::SIGCONT).await
    }

    async fn signal_all(&self, number: Signal) -> anyhow::Result<()> {
        if let Stop::Container(name) = &self.stop {
            let paused = number == Signal::SIGSTOP;
            return container::pause(name, paused).await;
        }
        // A running parent starts and ends children, so the kernel's list of them is complete only
        // while the parent is stopped: stop it first and resume it last.
        let parent = *self.pid.borrow();
        if number == Signal::SIGSTOP {
            self.signal(number).await?;
        }
        for child in parent.iter().flat_map(|parent| children(*parent)) {
            let _ = signal(child, number);
        }
        if number != Signal::SIGSTOP {
            self.signal(number).await?;
        }
        Ok(())
    }
}

/// The programs that run. Dropping it kills those that were not stopped, for example after a panic.
#[derive(Debug, Default)]
pub struct Supervisor(Mutex<Vec<Running>>);

#[derive(Debug)]
struct Running {
    pid: watch::Receiver<Option<u32>>,
    /// The child process, which leads a process group.
    leader: watch::Receiver<Option<u32>>,
    stop_method: Stop,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts a program, and restarts it whenever it ends. A restart that fails is logged and tried
    /// again.
    ///
    /// # Errors
    /// The first start fails.
    pub fn start(&self, program: Program) -> anyhow::Result<Supervised> {
        let process = program.spawn()?;
        let (pid_sender, pid) = watch::channel(None);
        let (leader_sender, leader) = watch::channel(process.leader());
        let stop = CancellationToken::new();
        let supervised = Supervised {
            name: program.name.clone(),
            pid: pid.clone(),
            stop: program.stop.clone(),
        };
        let stop_method = program.stop.clone();
        let task = tokio::spawn(program.run(process, pid_sender, leader_sender, stop.clone()));
        self.running().push(Running {
            pid,
            leader,
            stop_method,
            stop,
            task,
        });
        Ok(supervised)
    }

    /// Stops all programs in the reverse order of their start, and waits for them.
    pub async fn stop(&self) {
        while self.stop_last().await {}
    }

    /// Stops the program that was started last, and waits for it. False if none is running.
    pub async fn stop_last(&self) -> bool {
        let last = self.running().pop();
        let Some(Running { stop, task, .. }) = last else {
            return false;
        };
        stop.cancel();
        let _ = task.await;
        true
    }

    /// Kills all programs without waiting for their end. Containers are removed when it returns.
    pub fn kill(&self) {
        let mut containers = Vec::new();
        for running in mem::take(&mut *self.running()) {
            // The aborted task kills the process group. Until RabbitMQ has written its pid file, nothing
            // else finds the server.
            running.task.abort();
            let pid = *running.pid.borrow();
            match (running.stop_method, pid) {
                (Stop::Container(name), _) => containers.push(name),
                (Stop::Signal(_), Some(pid)) => {
                    let _ = signal(pid, Signal::SIGKILL);
                }
                (Stop::Signal(_), None) => {}
            }
        }
        // Killing the client `docker run` leaves its container running.
        container::remove(&containers);
    }

    /// The pids of the programs that run. A container has none.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let running = self.running();
        running.iter().filter_map(|it| *it.pid.borrow()).collect()
    }

    /// The leaders of the process groups of the programs that run. They are known as soon as a program
    /// was started, also while its server has no pid yet, and for the client of a container.
    #[must_use]
    pub fn leaders(&self) -> Vec<u32> {
        let running = self.running();
        running
            .iter()
            .filter_map(|it| *it.leader.borrow())
            .collect()
    }

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.kill();
    }
}
