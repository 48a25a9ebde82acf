//! Lets a test find out what happens when handling a command kills the worker. In debug builds
//! alone: a release has no such door.

use std::time::Duration;

use proto::{CommandId, Envelope, Event};

/// Aborts before the event of this command is announced: `abort-announcing:ID`.
pub(crate) fn announce(event: &Event) {
    let command_id = match event {
        Event::Saved(saved) => &saved.command_id,
        Event::Deleted(deleted) => &deleted.command_id,
    };
    if is_set("abort-announcing", command_id) {
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
    assert!(!is_set("panic", id.as_str()), "as FAILPOINT says");
    if is_set("abort", id.as_str()) {
        std::process::abort();
    }
}

/// Panics while this command is redacted: `panic-redacting:ID`.
pub(crate) fn redact(envelope: &Envelope) {
    assert!(!names("panic-redacting", envelope), "as FAILPOINT says");
}

/// Whether this command ends the session that it is delivered to: `break-session:ID`.
pub(crate) fn breaks_the_session(envelope: &Envelope) -> bool {
    names("break-session", envelope) || names("break-everything", envelope)
}

/// Whether this command, once it is dead, ends the session that it is delivered to as well:
/// `break-everything:ID`.
pub(crate) fn cannot_be_moved(envelope: &Envelope) -> bool {
    names("break-everything", envelope)
}

fn names(what: &str, envelope: &Envelope) -> bool {
    let id = envelope.command_id.as_ref();
    id.is_some_and(|id| is_set(what, id.as_str()))
}

fn is_set(what: &str, id: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var("FAILPOINT")
            .is_ok_and(|failpoint| failpoint.split_once(':') == Some((what, id)))
}
