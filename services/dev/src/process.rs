//! Signals, process groups, start times, children and memory of processes.

use std::fs;

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::process::Child;

/// Sends a signal to a process.
///
/// # Errors
/// The process has ended, or belongs to another user.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    Ok(kill(pid, signal)?)
}

/// Sends a signal to every process of a process group.
///
/// # Errors
/// All of its processes have ended, or belong to another user.
pub fn signal_group(leader: u32, signal: Signal) -> anyhow::Result<()> {
    let leader = Pid::from_raw(i32::try_from(leader)?);
    Ok(killpg(leader, signal)?)
}

/// The process group of a child process that was started with `process_group(0)`. Dropping it kills
/// every process that still runs in the group, because killing the child alone leaves its own child
/// processes running.
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group of a child that was not waited for.
    #[must_use]
    pub fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self(leader.map(Pid::from_raw))
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // The only expected error is that all processes of the group have ended.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// The start time of a process in clock ticks after boot; `None` if it is not running. It shows
/// whether a pid belongs to another process by now.
#[must_use]
pub fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name is in parentheses and may contain any character.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(ToOwned::to_owned))?
}

/// The children of a process; none if it is not running.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let pids = fs::read_to_string(path).unwrap_or_default();
    pids.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// A value of `/proc/PID/status` in KiB: `VmRSS` is the resident memory, `VmHWM` its peak.
///
/// # Errors
/// The process is not running.
pub fn status_kib(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next());
    let number = number.with_context(|| format!("process {pid} is not running"))?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use std::{process::Stdio, time::Duration};

    use tokio::{
        io::{AsyncBufReadExt as _, BufReader},
        process::Command,
        time::sleep,
    };

    use super::*;

    #[tokio::test]
    async fn dropping_a_group_kills_the_children_of_the_child() -> anyhow::Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait"])
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = ProcessGroup::of(&child);
        let Some(output) = child.stdout.take() else {
            anyhow::bail!("no output");
        };
        let line = BufReader::new(output).lines().next_line().await?;
        let inner: u32 = line.unwrap_or_default().parse()?;
        assert!(started(inner).is_some());

        drop(group);
        child.wait().await?;

        for _ in 0..100 {
            if started(inner).is_none() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the process still runs")
    }

    #[test]
    fn the_memory_of_this_process_is_read() -> anyhow::Result<()> {
        let pid = std::process::id();
        let (now, peak) = (status_kib(pid, "VmRSS")?, status_kib(pid, "VmHWM")?);
        assert!(now > 0 && peak > 0);
        assert!(status_kib(pid, "Vm").is_err());
        Ok(())
    }
}
