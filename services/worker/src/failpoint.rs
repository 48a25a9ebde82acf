//! Failures that a test injects by the environment variable `FAILPOINT`. Only in debug builds: a release
//! build ignores the variable.

use std::time::Duration;

use proto::{CommandId, Envelope, Event};

/// `abort-announcing:ID` aborts the process before the event of this command is published.
pub(crate) fn before_publishing(event: &Event) {
    let command_id = match event {
        Event::Saved(saved) => &saved.command_id,
        Event::Deleted(deleted) => &deleted.command_id,
    };
    if is_set("abort-announcing", command_id) {
        std::process::abort();
    }
}

/// `hold:SECONDS` replaces the time for which commands are held while the database is unavailable.
pub(crate) fn outage_hold() -> Option<Duration> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let failpoint = std::env::var("FAILPOINT").ok()?;
    let seconds = failpoint.strip_prefix("hold:")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// `panic:ID` panics and `abort:ID` aborts the process while this command is checked.
pub(crate) fn while_checking(id: &CommandId) {
    assert!(!is_set("panic", id.as_str()), "as FAILPOINT says");
    if is_set("abort", id.as_str()) {
        std::process::abort();
    }
}

/// `panic-redacting:ID` panics while this command is redacted.
pub(crate) fn while_redacting(envelope: &Envelope) {
    assert!(!names("panic-redacting", envelope), "as FAILPOINT says");
}

/// `break-session:ID` and `break-everything:ID` end the session that receives this command.
pub(crate) fn breaks_session(envelope: &Envelope) -> bool {
    names("break-session", envelope) || names("break-everything", envelope)
}

/// `break-everything:ID` also ends the session that receives this command as a dead letter.
pub(crate) fn breaks_dead_letters(envelope: &Envelope) -> bool {
    names("break-everything", envelope)
}

fn names(failure: &str, envelope: &Envelope) -> bool {
    let id = envelope.command_id.as_ref();
    id.is_some_and(|id| is_set(failure, id.as_str()))
}

fn is_set(failure: &str, id: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var("FAILPOINT")
            .is_ok_and(|failpoint| failpoint.split_once(':') == Some((failure, id)))
}
