//! What a connection is doing, and since when.
//!
//! ```text
//! accepted ─▶ Headers ─▶ Body ─▶ Working ─▶ Answering ─▶ Idle ─▶ Headers ...
//!
//! Body ─▶ Answering                    answered before the whole body was there
//! Answering, Idle ─▶ Body              the next request's headers had come already
//! Body, Working ─▶ Upgraded            a WebSocket
//! Headers, Body, Idle ─▶ Closing       makes room for a newcomer
//! Headers, Answering, Idle ─▶ Closing  took too long
//! ```

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The lowest bits of a state; the others are milliseconds.
const PHASE_BITS: u32 = 3;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Phase {
    /// Its headers are awaited, since the connection was accepted or since their first byte.
    Headers,
    /// The headers are there and the body is not.
    Body,
    /// A whole request is worked on.
    Working,
    /// The answer is there, and its last bytes are being sent.
    Answering,
    /// It was answered, and nothing of another request came yet.
    Idle,
    /// It does not speak HTTP any more, and stays until one of both sides ends it.
    Upgraded,
    /// It has to make room. Nothing that comes from it is looked at any more.
    Closing,
}

impl Phase {
    /// Whether the server closes a connection that is in this phase for too long. The other phases
    /// keep the start time of the phase before, which saves two clock reads for each request.
    fn has_deadline(self) -> bool {
        matches!(self, Self::Headers | Self::Answering | Self::Idle)
    }
}

/// A phase, and when it began, in one number: what began earlier is smaller.
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

    /// Another phase, with the start time of this one.
    fn continued_as(self, phase: Phase) -> Self {
        Self(self.0 >> PHASE_BITS << PHASE_BITS | phase as u64)
    }

    /// Counted from when the server began.
    pub fn since(self) -> Duration {
        Duration::from_millis(self.0 >> PHASE_BITS)
    }

    /// Whether there is no complete request that would be lost with the connection.
    pub fn may_be_closed(self) -> bool {
        matches!(self.phase(), Phase::Headers | Phase::Body | Phase::Idle)
    }
}

/// A connection's state. Its task, its stream and the places for connections share it.
#[derive(Debug)]
pub(super) struct Connection {
    state: AtomicU64,
    close: Notify,
    /// When the server began.
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

    /// Bytes came.
    pub fn bytes_came(&self) {
        self.change(Phase::Headers, |phase| phase == Phase::Idle);
    }

    /// The headers of a request are there. False: the connection is being closed.
    pub fn begin_request(&self) -> bool {
        self.change(Phase::Body, |phase| phase != Phase::Closing)
    }

    /// The whole request is there, or as much as anybody wants of it.
    pub fn received(&self) {
        self.change(Phase::Working, |phase| phase == Phase::Body);
    }

    /// The answer was handed over to be sent.
    pub fn answered(&self) {
        self.change(Phase::Answering, |phase| {
            matches!(phase, Phase::Body | Phase::Working)
        });
    }

    /// All that was handed over was sent.
    pub fn sent(&self) {
        self.change(Phase::Idle, |phase| phase == Phase::Answering);
    }

    /// It speaks another protocol from now on.
    pub fn upgrade(&self) {
        self.change(Phase::Upgraded, |phase| phase != Phase::Closing);
    }

    /// Closes it, unless it changed its state meanwhile.
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

    /// Ends when the connection has to be closed.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// Goes to another phase from those that lead there. False: it was in none of them.
    fn change(&self, to: Phase, leads_there: impl Fn(Phase) -> bool) -> bool {
        // Most calls change nothing, and need no clock.
        if !leads_there(self.state().phase()) {
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
                leads_there(State(state).phase()).then(|| next(State(state)).0)
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
    fn a_connection_goes_from_request_to_request() {
        let seen = phases(&[
            Connection::bytes_came,
            |it| assert!(it.begin_request()),
            Connection::bytes_came,
            Connection::received,
            Connection::sent,
            Connection::answered,
            Connection::sent,
            Connection::bytes_came,
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
            Connection::bytes_came,
        ]);

        assert!(seen[1..].iter().all(|phase| *phase == Phase::Upgraded));
    }

    #[test]
    fn what_changed_meanwhile_is_not_closed_and_what_is_closed_begins_nothing() {
        let connection = Connection::new(Instant::now());
        let before = connection.state();
        assert!(connection.begin_request());

        assert!(!connection.close_if(before));
        assert!(connection.close_if(connection.state()));
        assert!(!connection.begin_request());
    }
}
