//! Who has a place, and who has to give one up.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::phase::{Connection, State};
use crate::{log_throttle::LogThrottle, metrics};

/// Where no connection may be closed, that is not found out for every newcomer anew.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    pub open: HashMap<u64, Open>,
    pub of: HashMap<IpAddr, usize>,
    /// Whom to close next: of all (`None`), or of one address.
    pub oldest: HashMap<Option<IpAddr>, Oldest>,
    pub warned: LogThrottle,
}

#[derive(Debug)]
pub(super) struct Open {
    connection: Arc<Connection>,
    address: IpAddr,
}

/// Connections without a complete request, as they were when all were looked at, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Oldest {
    seen: VecDeque<(State, u64)>,
    /// No connection could be closed then.
    none_until: Option<Instant>,
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
        *self.of.entry(address).or_default() += 1;
        metrics::connection_opened();
        number
    }

    /// A place that was given up for another connection is not there any more.
    pub fn remove(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        metrics::connection_ended();
        if let Some(count) = self.of.get_mut(&open.address) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&open.address);
                self.oldest.remove(&Some(open.address));
            }
        }
    }

    /// Closes one connection, of all or of one address. False: each has a request in work.
    pub fn close_oldest(&mut self, of: Option<IpAddr>) -> bool {
        let mut oldest = self.oldest.remove(&of).unwrap_or_default();
        let mut closed = self.close_first(&mut oldest);
        let is_known = oldest
            .none_until
            .is_some_and(|until| Instant::now() < until);
        if closed.is_none() && !is_known {
            oldest = self.look(of);
            closed = self.close_first(&mut oldest);
        }
        if closed.is_none() {
            oldest
                .none_until
                .get_or_insert_with(|| Instant::now() + PAUSE);
        }
        self.oldest.insert(of, oldest);
        let Some(number) = closed else {
            return false;
        };
        metrics::connection_closed("made room");
        self.remove(number);
        true
    }

    /// Closes the first of those that have not changed since they were looked at.
    fn close_first(&self, oldest: &mut Oldest) -> Option<u64> {
        while let Some((state, number)) = oldest.seen.pop_front() {
            let open = self.open.get(&number);
            if open.is_some_and(|open| open.connection.close_if(state)) {
                return Some(number);
            }
        }
        None
    }

    /// Looks at all connections, which the next few hundred newcomers need not do again.
    fn look(&self, of: Option<IpAddr>) -> Oldest {
        let mut seen: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| of.is_none_or(|address| open.address == address))
            .map(|(number, open)| (open.connection.state(), *number))
            .filter(|(state, _)| state.may_be_closed())
            .collect();
        seen.sort_unstable();
        Oldest {
            seen: seen.into(),
            none_until: None,
        }
    }

    pub fn close_late(&mut self, too_late: impl Fn(State) -> Option<&'static str>) {
        let late: Vec<_> = self
            .open
            .iter()
            .filter_map(|(number, open)| {
                let state = open.connection.state();
                let reason = too_late(state)?;
                open.connection.close_if(state).then_some((*number, reason))
            })
            .collect();
        for (number, reason) in late {
            metrics::connection_closed(reason);
            self.remove(number);
        }
    }
}
