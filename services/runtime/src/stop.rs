//! Turns SIGINT and SIGTERM into cancellation tokens.

use std::{io, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two steps of a shutdown.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Cancelled at the signal. The service is not ready any more, so that load balancers choose
    /// another instance, and still does its work.
    pub requested: CancellationToken,
    /// Cancelled when the delay after the signal is over. The service takes no new work and finishes
    /// what it has. A service without a load balancer in front needs only this one.
    pub close: CancellationToken,
}

/// Installs the signal handlers and returns at once; a task then waits for a signal, and logs
/// `message` when it arrives.
///
/// `delay` is the time between the two steps after SIGTERM. After SIGINT, which a person sends from a
/// terminal, both follow at once. Too short a delay, and a load balancer still sends requests to a
/// service that closes its listener.
///
/// # Errors
/// The operating system refuses a signal handler.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn on_signal_with(delay: Duration, message: &'static str) -> io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = Stop {
        requested: CancellationToken::new(),
        close: CancellationToken::new(),
    };
    let tokens = stop.clone();
    tokio::spawn(async move {
        let delay = tokio::select! {
            _ = interrupt.recv() => Duration::ZERO,
            _ = terminate.recv() => delay,
        };
        tracing::info!("{message}");
        tokens.requested.cancel();
        tokio::time::sleep(delay).await;
        tokens.close.cancel();
    });
    Ok(stop)
}
