//! The settings of the limits on connections.

use std::{num::NonZeroUsize, time::Duration};

use clap::Args;
use runtime::settings;

/// The limits of connections. Each setting says what happens if it is too high or too low.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// The maximum number of open connections. Subscriptions are included, so it must be more than
    /// MAX_SUBSCRIPTIONS. A further connection replaces the one that has been without a complete request
    /// for the longest time. If all have a request in progress, the new one is closed after a moment.
    /// Higher: each connection uses a file descriptor and about 20 KiB of memory. Lower: clients and
    /// proxies with idle connections must connect again.
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "4096")]
    pub max_connections: NonZeroUsize,

    /// How many of them one IPv4 address or one IPv6 /64 network may have; 0: no limit. A further connection
    /// replaces another one of the same address. Higher: one address can make all other clients connect
    /// again. Lower: the connections of a proxy, which has one address for all of its clients, are closed.
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 2048)]
    pub max_connections_per_address: usize,

    /// The time in which a client must send the headers of a request, such as 10s. It also applies to a new
    /// connection. Longer: slow clients use connections for longer. Shorter: clients on slow networks are
    /// disconnected.
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = settings::duration)]
    pub header_timeout: Duration,

    /// How long an idle connection stays open for the next request, and how long a client may read nothing
    /// of its answer. It must be longer than the idle timeout of a proxy in front of the gateway, or
    /// requests are lost that the proxy sends while the gateway closes the connection.
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "75s", value_parser = settings::duration)]
    pub idle_timeout: Duration,
}
