//! Containers by their name: stop, signal, pause.

use std::process::Stdio;

use anyhow::ensure;
use nix::sys::signal::Signal;
use tokio::process::Command;

/// Stops a container in good order.
pub async fn stop(name: &str) {
    quiet(&["stop", "--time", "15", name]).await;
}

/// Sends a signal to a container's program.
///
/// # Errors
/// It does not run.
pub async fn signal(name: &str, signal: Signal) -> anyhow::Result<()> {
    let sent = quiet(&["kill", "--signal", signal.as_str(), name]).await;
    ensure!(sent, "{name} does not run");
    Ok(())
}

/// Freezes a container, or lets it go on.
///
/// # Errors
/// It does not run.
pub async fn pause(name: &str, paused: bool) -> anyhow::Result<()> {
    let done = quiet(&[if paused { "pause" } else { "unpause" }, name]).await;
    ensure!(done, "{name} does not run");
    Ok(())
}

/// Runs `docker` without its output. Whether it succeeded.
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
