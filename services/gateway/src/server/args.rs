//! The settings of connections.

use std::{num::NonZeroUsize, time::Duration};

use clap::Args;
use runtime::settings;

/// How many connections there may be, and how long they may take. Every setting is described by
/// what happens when it is too high or too low.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    /// Connections that are open at once, subscriptions included, so more than MAX_SUBSCRIPTIONS.
    /// One more gets the place of the connection that has been without a complete request for the
    /// longest time; where each has a request in work, the new one is closed after a moment. Higher: each takes a
    /// file descriptor and some 20 KiB. Lower: clients and proxies that keep connections have to
    /// connect again.
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "4096")]
    pub max_connections: NonZeroUsize,

    /// How many of them one address may have, or one /64 of IPv6; 0: all. One more gets the place
    /// of another connection of the same address. Higher: one address can make all others connect
    /// again. Lower: a proxy has one address for all of its clients, and they are closed.
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 2048)]
    pub max_connections_per_address: usize,

    /// How long a request's headers may take, such as 10s; a connection that never sent any is
    /// closed then, too. Longer: slow clients keep their places for longer. Shorter: clients on
    /// slow networks are cut off.
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = settings::duration)]
    pub header_timeout: Duration,

    /// How long a connection is kept for the next request, and how long a client may take nothing of
    /// its answer. Longer than the proxy in front keeps connections, or requests are lost that it
    /// sends at the moment when they are closed.
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "75s", value_parser = settings::duration)]
    pub idle_timeout: Duration,
}
