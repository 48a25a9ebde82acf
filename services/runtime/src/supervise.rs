//! Keeps a session with the broker running: starts it, logs why it failed, pauses, and starts the next one.
//!
//! A session owns its connection and everything on it, and closes the connection before it returns.
//! The loop never reuses a part of a failed session, so that no state of it can be half valid.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::broker::{GOOD_SESSION, MAX_PAUSE, backoff};

/// Something that connects, works until it fails, and can then be started again.
pub trait Session {
    /// Why a session failed. It is logged, and another session follows.
    type Error: Display;
    /// Why no session can ever succeed, such as a queue that exists with other arguments.
    /// [`std::convert::Infallible`] where there is no such reason.
    type Fatal;

    /// Runs one session, from opening its connection to closing it.
    ///
    /// It ends soon after the stop signal. A session that may be dropped at any `await` can be
    /// wrapped in [`CancellationToken::run_until_cancelled`]; another one checks the token itself.
    fn run(&mut self) -> impl Future<Output = Next<Self::Error, Self::Fatal>>;

    /// Logs why a session failed. `name` is the one that was passed to [`supervise`]. A service that
    /// has a log line of its own for this replaces the method.
    fn log_failure(&self, name: &'static str, error: &Self::Error) {
        tracing::warn!(session = name, %error, "a session with the broker failed; another one follows");
    }
}

/// What follows the end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<E, F> {
    /// Nothing: the session ended because of the stop signal.
    Stop,
    /// Another session at once: this one ended on purpose.
    Restart,
    /// Another session after a pause that grows with each failure.
    Retry(E),
    /// Nothing: no other session would succeed.
    Fail(F),
}

/// Runs sessions one after another until `stop`. `name` says in the log which session failed.
///
/// The pauses between failed sessions start at 100 ms and double to 5 s, each with a random part. They
/// start again after a failed session that lasted longer than [`GOOD_SESSION`]. The stop signal ends a
/// pause.
///
/// # Errors
/// What a session returned as [`Next::Fail`].
pub async fn supervise<S: Session>(
    name: &'static str,
    mut session: S,
    stop: &CancellationToken,
) -> Result<(), S::Fatal> {
    let mut pauses = Pauses::new();
    while !stop.is_cancelled() {
        let started = Instant::now();
        let error = match session.run().await {
            Next::Stop => break,
            Next::Restart => continue,
            Next::Retry(error) => error,
            Next::Fail(error) => return Err(error),
        };
        session.log_failure(name, &error);
        pauses.session_lasted(started.elapsed());
        let pause = pauses.next_pause();
        // None only says that the stop signal came during the pause; the loop checks the token.
        let _: Option<()> = stop.run_until_cancelled(sleep(pause)).await;
    }
    Ok(())
}

/// The growing pauses between failed sessions.
struct Pauses(Box<dyn Iterator<Item = Duration> + Send>);

impl Pauses {
    fn new() -> Self {
        Self(Box::new(backoff()))
    }

    /// Starts again with the shortest pause after a good session. A connection that the broker
    /// accepts and closes at once is not a good session, and its pauses keep growing.
    fn session_lasted(&mut self, duration: Duration) {
        if duration > GOOD_SESSION {
            *self = Self::new();
        }
    }

    fn next_pause(&mut self) -> Duration {
        self.0.next().unwrap_or(MAX_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// The shortest pause with its random part.
    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn pauses_grow_after_short_sessions_and_start_again_after_a_good_one() {
        let mut pauses = Pauses::new();
        let mut longest = Duration::ZERO;

        for _ in 0..8 {
            pauses.session_lasted(GOOD_SESSION);
            longest = longest.max(pauses.next_pause());
        }
        assert!(longest >= MAX_PAUSE, "{longest:?}");
        pauses.session_lasted(GOOD_SESSION + SHORT);

        let next = pauses.next_pause();
        assert!(next <= SHORT, "{next:?}");
    }

    #[test]
    fn the_pauses_of_the_broker_start_short_and_have_a_limit() {
        let taken: Vec<Duration> = backoff().take(20).collect();

        assert!(taken[0] >= SHORT / 2 && taken[0] <= SHORT);
        // The random part is at most as long as the pause itself.
        assert!(taken.iter().all(|pause| *pause <= 2 * MAX_PAUSE));
    }

    /// Each run ends with the next of these ends. The last one cancels `stop`.
    struct Scripted {
        ends: VecDeque<Next<&'static str, &'static str>>,
        runs: usize,
        stop: CancellationToken,
    }

    impl Session for &mut Scripted {
        type Error = &'static str;
        type Fatal = &'static str;

        async fn run(&mut self) -> Next<&'static str, &'static str> {
            self.runs += 1;
            let end = self.ends.pop_front().unwrap_or(Next::Stop);
            if self.ends.is_empty() {
                self.stop.cancel();
            }
            end
        }
    }

    /// Supervises a session with these ends. Returns the result, and how many sessions ran.
    async fn supervised(
        ends: impl IntoIterator<Item = Next<&'static str, &'static str>>,
    ) -> (Result<(), &'static str>, usize) {
        let stop = CancellationToken::new();
        let mut session = Scripted {
            ends: ends.into_iter().collect(),
            runs: 0,
            stop: stop.clone(),
        };
        let result = supervise("test", &mut session, &stop).await;
        (result, session.runs)
    }

    #[tokio::test]
    async fn a_session_that_ended_on_purpose_is_followed_at_once() {
        let ends = [Next::Restart, Next::Restart, Next::Stop, Next::Restart];

        assert_eq!(supervised(ends).await, (Ok(()), 3));
    }

    #[tokio::test]
    async fn a_failed_session_is_followed_by_another() {
        let ends = [Next::Retry("lost"), Next::Retry("lost"), Next::Stop];

        assert_eq!(supervised(ends).await, (Ok(()), 3));
    }

    #[tokio::test]
    async fn an_error_that_no_retry_changes_ends_the_loop() {
        let ends = [Next::Fail("another topology"), Next::Restart];

        assert_eq!(supervised(ends).await, (Err("another topology"), 1));
    }

    #[tokio::test]
    async fn the_stop_signal_ends_the_loop_without_a_pause() {
        let started = Instant::now();

        assert_eq!(supervised([Next::Retry("lost")]).await, (Ok(()), 1));
        assert!(started.elapsed() < SHORT / 2, "it paused");
    }
}
