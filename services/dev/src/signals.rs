//! The signals that stop `cargo dev`: SIGINT, SIGTERM, and SIGHUP when its terminal is closed.

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

/// Catches the signals from now on. The future ends with the first of them.
///
/// # Errors
/// No signal handler can be installed.
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Runs `work` to its end, or drops it at the first stop signal.
///
/// # Errors
/// `work` fails, or a stop signal came.
pub async fn until_stopped<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let stopped = stop_signal()?;
    tokio::select! {
        result = work => result,
        () = stopped => bail!("stopped by a signal"),
    }
}
