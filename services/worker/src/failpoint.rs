//! Lets a test find out what happens when handling a command kills the worker. In debug builds
//! alone: a release has no such door.

use std::time::Duration;

use proto::{CommandId, Event};

/// Aborts before the event of this command is announced: `abort-announcing:ID`.
pub(crate) fn announce(event: &Event) {
    let command_id = match event {
        Event::Saved(saved) => &saved.command_id,
        Event::Deleted(deleted) => &deleted.command_id,
    };
    if cfg!(debug_assertions)
        && let Ok(failpoint) = std::env::var("FAILPOINT")
        && failpoint.strip_prefix("abort-announcing:") == Some(command_id)
    {
        std::process::abort();
    }
}

/// How long commands are held while the database is away, in place of minutes: `hold:SECONDS`.
pub(crate) fn hold() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let failpoint = std::env::var("FAILPOINT").ok()?;
    let seconds = failpoint.strip_prefix("hold:")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Does what `FAILPOINT` says, if it names this command: `panic:ID` or `abort:ID`.
pub(crate) fn pass(id: &CommandId) {
    if cfg!(debug_assertions)
        && let Ok(failpoint) = std::env::var("FAILPOINT")
    {
        match failpoint.split_once(':') {
            Some(("panic", named)) if named == id.as_str() => panic!("as FAILPOINT says"),
            Some(("abort", named)) if named == id.as_str() => std::process::abort(),
            _ => {}
        }
    }
}
