//! Where private servers come from: Docker, or this machine.

use anyhow::ensure;

use crate::docker;

/// The environment variable with the source, for the programs that `cargo dev` starts.
pub const VARIABLE: &str = "DEV_SERVERS";

/// Where private servers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// Containers of the shipped versions. An error if no Docker engine is available.
    Docker,
    /// Servers that are installed on this machine. Missing ones are installed by apt.
    Installed,
}

impl Source {
    /// The source that the environment names.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let name = std::env::var(VARIABLE).ok()?;
        clap::ValueEnum::from_str(&name, true).ok()
    }

    /// The value of [`VARIABLE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Installed => "installed",
        }
    }

    /// Whether to start containers. Without a source: whether a Docker engine is available.
    pub(crate) async fn is_docker(source: Option<Self>) -> anyhow::Result<bool> {
        if source == Some(Self::Installed) {
            return Ok(false);
        }
        let is_available = docker::answers().await && docker::has_images().await;
        ensure!(
            is_available || source.is_none(),
            "--servers docker: no Docker engine is available, or it has no images of Postgres and RabbitMQ"
        );
        Ok(is_available)
    }
}
