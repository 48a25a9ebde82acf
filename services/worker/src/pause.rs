//! Pauses that end early when the worker has to stop.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Sleeps for this long, or until `stop` is cancelled.
pub(crate) async fn pause(stop: &CancellationToken, duration: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(duration) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_pause_ends_when_the_worker_has_to_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        let started = Instant::now();

        pause(&stop, Duration::from_mins(1)).await;

        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
