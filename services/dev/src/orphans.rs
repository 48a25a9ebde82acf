//! What a stack that was killed has left running: it can't stop anything any more, but it has
//! written down what it started.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    process::{self, started},
    state,
};

const FILE: &str = "pids";

/// Writes down what runs, for the next start.
///
/// # Errors
/// The file can't be written.
pub fn remember(folder: &Path, pids: impl Iterator<Item = u32>) -> anyhow::Result<()> {
    let mut lines = String::new();
    for pid in pids {
        if let Some(started) = started(pid) {
            writeln!(lines, "{pid} {started}")?;
        }
    }
    state::replace(&folder.join(FILE), lines.as_bytes())
}

/// Forgets what ran: it was stopped.
pub fn forget(folder: &Path) {
    let _ = fs::remove_file(folder.join(FILE));
}

/// Stops what an earlier stack in this folder started and could not stop.
pub fn stop(folder: &Path) {
    let Ok(text) = fs::read_to_string(folder.join(FILE)) else {
        return;
    };
    let ours: Vec<u32> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(pid, then)| Some((pid.parse().ok()?, then)))
        // A pid may belong to another process by now; its time of start tells.
        .filter(|(pid, then)| started(*pid).as_deref() == Some(*then))
        .map(|(pid, _)| pid)
        .collect();
    for pid in &ours {
        eprintln!("stopping process {pid}, left by a stack that was killed");
        let _ = process::signal(*pid, Signal::SIGTERM);
    }
    for _ in 0..100 {
        if ours.iter().all(|pid| started(*pid).is_none()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for pid in &ours {
        let _ = process::signal(*pid, Signal::SIGKILL);
    }
}
