//! File descriptors: each connection takes one.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// For the broker, the database, the keys, the log, and connections that are just being closed.
const RESERVED: u64 = 256;

/// How many of so many connections there are file descriptors for. Raises this process's own limit
/// as far as the system lets it.
///
/// # Errors
/// The limit can't be read, or leaves room for no connection at all.
pub(super) fn room_for(connections: usize) -> io::Result<usize> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = wanted.saturating_add(RESERVED);
    let raised = needed.min(hard);
    let limit = if soft < raised && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
        raised
    } else {
        soft
    };
    let room = room(limit, wanted).ok_or_else(|| {
        io::Error::other(format!(
            "the limit on open files (ulimit -n) is {limit}; {RESERVED} are needed beside those of \
             clients"
        ))
    })?;
    if room < wanted {
        tracing::warn!(
            open_files = limit,
            max_connections = wanted,
            connections = room,
            "the limit on open files (ulimit -n) leaves room for fewer connections than \
             MAX_CONNECTIONS"
        );
    }
    Ok(usize::try_from(room).unwrap_or(usize::MAX))
}

fn room(limit: u64, wanted: u64) -> Option<u64> {
    let room = limit.saturating_sub(RESERVED).min(wanted);
    (room > 0).then_some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        assert_eq!(room(1_024, 4_096), Some(768));
        assert_eq!(room(20_000, 4_096), Some(4_096));
        assert_eq!(room(256, 4_096), None);
        assert_eq!(room(64, 1), None);
    }
}
