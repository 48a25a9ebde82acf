//! The state of a connection: its phase, and the start time of the phase.
//!
//! ```text
//! accepted ─▶ Headers ─▶ Body ─▶ Working ─▶ Answering ─▶ Idle ─▶ Headers ...
//!
//! Body ─▶ Answering                    answered before the whole body was received
//! Answering, Idle ─▶ Body              the next request's headers were buffered already
//! Body, Working ─▶ Upgraded            a WebSocket
//! Headers, Body, Idle ─▶ Closing       replaced by a new connection
//! Headers, Answering, Idle ─▶ Closing  timed out
//! ```

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The lowest bits of a state hold the phase, the others the milliseconds.
const PHASE_BITS: u32 = 3;

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Phase {
    /// Waits for headers, since the connection was accepted or since their first byte.
    Headers,
    /// The headers were received, and the body was not.
    Body,
    /// A complete request is being processed.
    Working,
    /// The answer is complete, and its last bytes are being sent.
    Answering,
    /// The last request was answered, and no byte of the next one was received.
    Idle,
    /// The connection uses another protocol than HTTP and has no deadline here.
    Upgraded,
    /// The connection is being closed. Further bytes of the client are ignored.
    Closing,
}

impl Phase {
    /// Whether the server closes a connection that is in this phase for too long. The other phases
    /// keep the start time of the phase before, which saves two clock reads for each request.
    fn has_deadline(self) -> bool {
        matches!(self, Self::Headers | Self::Answering | Self::Idle)
    }
}

/// A phase and its start time in one number. An earlier start gives a smaller number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State(u64);

impl State {
    fn new(phase: Phase, since: Duration) -> Self {
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self(milliseconds << PHASE_BITS | phase as u64)
    }

    pub fn phase(self) -> Phase {
        match self.0 & ((1 << PHASE_BITS) - 1) {
            0 => Phase::Headers,
            1 => Phase::Body,
            2 => Phase::Working,
            3 => Phase::Answering,
            4 => Phase::Idle,
            5 => Phase::Upgraded,
            _ => Phase::Closing,
        }
    }

    /// Another phase with the start time of this one.
    fn continued_as(self, phase: Phase) -> Self {
        Self(self.0 >> PHASE_BITS << PHASE_BITS | phase as u64)
    }

    /// The start time of the phase, relative to the start of the server.
    pub fn since(self) -> Duration {
        Duration::from_millis(self.0 >> PHASE_BITS)
    }

    /// Whether the connection can be closed without losing a complete request.
    pub fn is_replaceable(self) -> bool {
        matches!(self.phase(), Phase::Headers | Phase::Body | Phase::Idle)
    }
}

/// The shared state of a connection: its task, its stream and the table of places use it.
#[derive(Debug)]
pub(super) struct Connection {
    state: AtomicU64,
    close: Notify,
    /// The start of the server.
    epoch: Instant,
}

impl Connection {
    pub fn new(epoch: Instant) -> Self {
        Self {
            state: AtomicU64::new(State::new(Phase::Headers, epoch.elapsed()).0),
            close: Notify::new(),
            epoch,
        }
    }

    pub fn state(&self) -> State {
        State(self.state.load(Ordering::Acquire))
    }

    /// Bytes were received.
    pub fn bytes_received(&self) {
        self.change(Phase::Headers, |phase| phase == Phase::Idle);
    }

    /// The headers of a request were received. Returns `false` if the connection is being closed.
    pub fn begin_request(&self) -> bool {
        self.change(Phase::Body, |phase| phase != Phase::Closing)
    }

    /// The request's body was received, or its handler does not read the rest.
    pub fn received(&self) {
        self.change(Phase::Working, |phase| phase == Phase::Body);
    }

    /// The last part of the answer was passed to the connection.
    pub fn answered(&self) {
        self.change(Phase::Answering, |phase| {
            matches!(phase, Phase::Body | Phase::Working)
        });
    }

    /// All bytes were sent.
    pub fn sent(&self) {
        self.change(Phase::Idle, |phase| phase == Phase::Answering);
    }

    /// The connection switched to another protocol.
    pub fn upgrade(&self) {
        self.change(Phase::Upgraded, |phase| phase != Phase::Closing);
    }

    /// Closes the connection, unless its state has changed meanwhile.
    pub fn close_if(&self, state: State) -> bool {
        let closing = State::new(Phase::Closing, self.epoch.elapsed());
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let closed = self
            .state
            .compare_exchange(state.0, closing.0, success, failure)
            .is_ok();
        if closed {
            self.close.notify_one();
        }
        closed
    }

    /// Completes when the connection must be closed.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// Enters a phase, if that is allowed from the current one. Returns whether it is.
    fn change(&self, to: Phase, is_allowed_from: impl Fn(Phase) -> bool) -> bool {
        // Most calls change nothing, so the clock is not read for them.
        if !is_allowed_from(self.state().phase()) {
            return false;
        }
        let now = to.has_deadline().then(|| self.epoch.elapsed());
        let next = |state: State| match now {
            Some(now) => State::new(to, now),
            None => state.continued_as(to),
        };
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.state
            .fetch_update(success, failure, |state| {
                is_allowed_from(State(state).phase()).then(|| next(State(state)).0)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(steps: &[fn(&Connection)]) -> Vec<Phase> {
        let connection = Connection::new(Instant::now());
        steps
            .iter()
            .map(|step| {
                step(&connection);
                connection.state().phase()
            })
            .collect()
    }

    #[test]
    fn a_connection_serves_one_request_after_another() {
        let seen = phases(&[
            Connection::bytes_received,
            |it| assert!(it.begin_request()),
            Connection::bytes_received,
            Connection::received,
            Connection::sent,
            Connection::answered,
            Connection::sent,
            Connection::bytes_received,
        ]);

        let expected = [
            Phase::Headers,
            Phase::Body,
            Phase::Body,
            Phase::Working,
            Phase::Working,
            Phase::Answering,
            Phase::Idle,
            Phase::Headers,
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_upgraded_connection_stays_upgraded() {
        let seen = phases(&[
            |it| assert!(it.begin_request()),
            Connection::upgrade,
            Connection::answered,
            Connection::sent,
            Connection::bytes_received,
        ]);

        assert!(seen[1..].iter().all(|phase| *phase == Phase::Upgraded));
    }

    #[test]
    fn a_changed_connection_is_not_closed_and_a_closed_one_starts_no_request() {
        let connection = Connection::new(Instant::now());
        let before = connection.state();
        assert!(connection.begin_request());

        assert!(!connection.close_if(before));
        assert!(connection.close_if(connection.state()));
        assert!(!connection.begin_request());
    }
}
