//! Lets a test find out what happens when handling a command kills the worker. In debug builds
//! alone: a release has no such door.

use proto::CommandId;

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
