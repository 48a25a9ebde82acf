//! Runs the `load` program, which makes requests and prints its measurements as JSON.

use std::path::Path;

use anyhow::ensure;
use dev::up::SPACE;
use serde_json::Value;
use tokio::process::Command;

/// The measurements of one run.
pub struct Measurements(Value);

impl Measurements {
    /// A number by its name; 0 if it was not measured.
    pub fn number(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_default()
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.number("count") / self.number("seconds")
    }
}

/// A command that runs `load`. It is killed when its future is dropped.
pub fn command(programs: &Path, token: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs.join("load"));
    command
        .args(arguments)
        .args(["--space", SPACE])
        .env("TOKEN", token)
        .kill_on_drop(true);
    command
}

/// Runs the command to its end.
pub async fn run(mut command: Command) -> anyhow::Result<Measurements> {
    let output = command.output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the load failed: {stderr}");
    Ok(Measurements(serde_json::from_slice(&output.stdout)?))
}
