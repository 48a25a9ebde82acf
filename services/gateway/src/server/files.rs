//! Limits the number of connections to the available file descriptors.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// File descriptors for the broker, the database, the keys, the log, and connections that are being closed.
const RESERVED: u64 = 256;

/// Reduces the number of connections to the available file descriptors, after raising this process's limit
/// as far as the system allows.
///
/// # Errors
/// The limit can't be read, or is too low for even one connection.
pub(super) fn available_for(connections: usize) -> io::Result<usize> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let needed = wanted.saturating_add(RESERVED);
    let raised = needed.min(hard);
    let limit = if soft < raised && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() {
        raised
    } else {
        soft
    };
    let available = available(limit, wanted).ok_or_else(|| {
        io::Error::other(format!(
            "the limit on open files (ulimit -n) is {limit}; {RESERVED} are needed beside those of \
             clients"
        ))
    })?;
    if available < wanted {
        tracing::warn!(
            open_files = limit,
            max_connections = wanted,
            connections = available,
            "the limit on open files (ulimit -n) allows fewer connections than MAX_CONNECTIONS"
        );
    }
    Ok(usize::try_from(available).unwrap_or(usize::MAX))
}

fn available(limit: u64, wanted: u64) -> Option<u64> {
    let available = limit.saturating_sub(RESERVED).min(wanted);
    (available > 0).then_some(available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        assert_eq!(available(1_024, 4_096), Some(768));
        assert_eq!(available(20_000, 4_096), Some(4_096));
        assert_eq!(available(256, 4_096), None);
        assert_eq!(available(64, 1), None);
    }
}
