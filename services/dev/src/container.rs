//! Stops, signals, pauses and removes containers by name.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use tokio::process::Command;

/// An engine that hangs must not keep the run from ending.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Stops a container gracefully.
pub async fn stop(name: &str) {
    quiet(&["stop", "--time", "15", name]).await;
}

/// Sends a signal to a container's main process.
///
/// # Errors
/// It is not running.
pub async fn signal(name: &str, signal: Signal) -> anyhow::Result<()> {
    let sent = quiet(&["kill", "--signal", signal.as_str(), name]).await;
    ensure!(sent, "{name} is not running");
    Ok(())
}

/// Pauses or resumes a container.
///
/// # Errors
/// It is not running.
pub async fn pause(name: &str, paused: bool) -> anyhow::Result<()> {
    let done = quiet(&[if paused { "pause" } else { "unpause" }, name]).await;
    ensure!(done, "{name} is not running");
    Ok(())
}

/// Kills and removes containers, if they exist. It blocks, so that a destructor can call it, but
/// not longer than half a minute.
pub fn remove(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let removal = std::process::Command::new("docker")
        .args(["rm", "--force"])
        .args(names)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut removal) = removal else {
        return;
    };
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    while matches!(removal.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    // Without an effect on a command that has ended.
    let _ = removal.kill();
    let _ = removal.wait();
}

/// Runs `docker` without showing its output. Returns whether it succeeded.
pub(crate) async fn quiet(arguments: &[&str]) -> bool {
    Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .is_ok_and(|status| status.success())
}
