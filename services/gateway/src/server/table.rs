//! The open connections, and the choice of the connection to close.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::phase::{Connection, State};
use crate::{log_throttle::LogThrottle, metrics};

/// If no connection can be closed, the connections are not searched again for this time.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    pub open: HashMap<u64, Open>,
    pub by_address: HashMap<IpAddr, usize>,
    /// The last search of each address, and that of all connections under `None`.
    pub oldest: HashMap<Option<IpAddr>, Oldest>,
    pub full_log: LogThrottle,
}

#[derive(Debug)]
pub(super) struct Open {
    connection: Arc<Connection>,
    address: IpAddr,
}

/// The result of a search: the connections without a complete request, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    candidates: VecDeque<(State, u64)>,
    /// Set if no connection could be closed.
    no_search_until: Option<Instant>,
}

impl Table {
    pub fn add(&mut self, connection: Arc<Connection>, address: IpAddr) -> u64 {
        let number = self.next;
        self.next += 1;
        let open = Open {
            connection,
            address,
        };
        self.open.insert(number, open);
        *self.by_address.entry(address).or_default() += 1;
        metrics::connection_opened();
        number
    }

    /// Has no effect if the connection was removed when it was closed.
    pub fn remove(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        metrics::connection_ended();
        if let Some(count) = self.by_address.get_mut(&open.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&open.address);
                self.oldest.remove(&Some(open.address));
            }
        }
    }

    /// Closes one connection of an address, or of all with `None`. Returns `false` if all of them have a
    /// request in progress.
    pub fn close_oldest(&mut self, address: Option<IpAddr>) -> bool {
        let mut oldest = self.oldest.remove(&address).unwrap_or_default();
        let mut closed = self.close_first(&mut oldest);
        let is_paused = oldest
            .no_search_until
            .is_some_and(|until| Instant::now() < until);
        if closed.is_none() && !is_paused {
            oldest = self.search(address);
            closed = self.close_first(&mut oldest);
        }
        if closed.is_none() {
            oldest
                .no_search_until
                .get_or_insert_with(|| Instant::now() + SEARCH_PAUSE);
        }
        self.oldest.insert(address, oldest);
        let Some(number) = closed else {
            return false;
        };
        metrics::connection_closed("made room");
        self.remove(number);
        true
    }

    /// Closes the first candidate whose state has not changed since the search.
    fn close_first(&self, oldest: &mut Oldest) -> Option<u64> {
        while let Some((state, number)) = oldest.candidates.pop_front() {
            let open = self.open.get(&number);
            if open.is_some_and(|open| open.connection.close_if(state)) {
                return Some(number);
            }
        }
        None
    }

    /// Searches the connections of an address, or all with `None`. The result serves many new
    /// connections, so a search is rare.
    fn search(&self, address: Option<IpAddr>) -> Oldest {
        let mut candidates: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| address.is_none_or(|it| open.address == it))
            .map(|(number, open)| (open.connection.state(), *number))
            .filter(|(state, _)| state.is_replaceable())
            .collect();
        candidates.sort_unstable();
        Oldest {
            candidates: candidates.into(),
            no_search_until: None,
        }
    }

    pub fn close_expired(&mut self, reason_to_close: impl Fn(State) -> Option<&'static str>) {
        let closed: Vec<_> = self
            .open
            .iter()
            .filter_map(|(number, open)| {
                let state = open.connection.state();
                let reason = reason_to_close(state)?;
                open.connection.close_if(state).then_some((*number, reason))
            })
            .collect();
        for (number, reason) in closed {
            metrics::connection_closed(reason);
            self.remove(number);
        }
    }
}
