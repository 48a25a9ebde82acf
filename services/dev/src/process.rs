//! Signals and start times of processes.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Sends a signal to a process.
///
/// # Errors
/// The process has ended, or belongs to another user.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    Ok(kill(pid, signal)?)
}

/// The start time of a process in clock ticks after boot; `None` if it is not running.
pub(crate) fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may contain any character.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(ToOwned::to_owned))?
}
