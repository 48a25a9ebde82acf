//! The limited places for connections, and the timeouts after which a connection loses its place.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    args::ConnectionArgs,
    phase::{Connection, Phase, State},
    table::Table,
};

/// The time in which a client must read the last bytes of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// All places for connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    /// Equal to `max` if there is no limit for each address.
    max_per_address: usize,
    header_timeout: Duration,
    idle_timeout: Duration,
    epoch: Instant,
    table: Mutex<Table>,
}

/// The place of a connection. Dropping it releases the place.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    connection: Arc<Connection>,
    places: Places,
}

impl Place {
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().remove(self.number);
    }
}

impl Places {
    pub fn new(args: &ConnectionArgs, max: usize) -> Self {
        let max_per_address = match args.max_connections_per_address {
            0 => max,
            limited => limited,
        };
        Self(Arc::new(Shared {
            max,
            max_per_address,
            header_timeout: args.header_timeout,
            idle_timeout: args.idle_timeout,
            epoch: Instant::now(),
            table: Mutex::default(),
        }))
    }

    /// A place for a new connection. `None` if all connections have a request in progress.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let address = network(peer);
        let mut table = self.table();
        let of_address = table.by_address.get(&address).copied().unwrap_or(0);
        let is_address_full = of_address >= self.0.max_per_address;
        if is_address_full || table.open.len() >= self.0.max {
            let full_address = is_address_full.then_some(address);
            let replaced = table.close_oldest(full_address);
            if table.full_log.is_due() {
                let address = full_address.map(tracing::field::display);
                tracing::warn!(address, replaced, "all places for connections are taken");
            }
            if !replaced {
                return None;
            }
        }
        let connection = Arc::new(Connection::new(self.0.epoch));
        let number = table.add(connection.clone(), address);
        Some(Place {
            number,
            connection,
            places: self.clone(),
        })
    }

    pub fn idle_timeout(&self) -> Duration {
        self.0.idle_timeout
    }

    /// Closes the connection that has been without a complete request for the longest time.
    pub fn close_oldest(&self) {
        self.table().close_oldest(None);
    }

    /// Closes connections that exceed their timeout. Never ends.
    pub async fn sweep(self) {
        let shortest = self.0.header_timeout.min(self.0.idle_timeout);
        let pause = (shortest / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            sleep(pause).await;
            let now = self.0.epoch.elapsed();
            self.table()
                .close_expired(|state| self.expiry_reason(state, now));
        }
    }

    /// The reason to close a connection in this state, if it has exceeded its timeout.
    fn expiry_reason(&self, state: State, now: Duration) -> Option<&'static str> {
        let (limit, reason) = match state.phase() {
            Phase::Headers => (self.0.header_timeout, "slow"),
            Phase::Idle => (self.0.idle_timeout, "idle"),
            Phase::Answering => (ANSWER_TIMEOUT, "stalled"),
            // The handler has its own deadlines for the body and for the request.
            Phase::Body | Phase::Working | Phase::Upgraded | Phase::Closing => return None,
        };
        (now.saturating_sub(state.since()) > limit).then_some(reason)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that is counted. For IPv6 that is the /64 network, because one client can use all of its
/// addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
