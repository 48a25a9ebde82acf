//! Where private servers come from: Docker, or this machine.

use anyhow::{anyhow, ensure};
use clap::ValueEnum as _;

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
    /// The source that the environment names; `None` if the variable is not set or empty.
    ///
    /// # Errors
    /// It names another source.
    pub fn from_environment() -> anyhow::Result<Option<Self>> {
        let name = std::env::var_os(VARIABLE).unwrap_or_default();
        Self::parse(&name.to_string_lossy())
    }

    fn parse(name: &str) -> anyhow::Result<Option<Self>> {
        if name.is_empty() {
            return Ok(None);
        }
        let source = Self::from_str(name, true);
        source.map(Some).map_err(|_| {
            let names: Vec<_> = Self::value_variants()
                .iter()
                .copied()
                .map(Self::name)
                .collect();
            anyhow!("{VARIABLE}={name}: possible values: {}", names.join(", "))
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_empty_or_names_a_source() -> anyhow::Result<()> {
        assert_eq!(Source::parse("")?, None);
        for source in Source::value_variants() {
            assert_eq!(Source::parse(source.name())?, Some(*source));
        }
        assert_eq!(Source::parse("Docker")?, Some(Source::Docker));
        let error = Source::parse("podman").err().map(|it| it.to_string());
        let expected = "DEV_SERVERS=podman: possible values: docker, installed";
        assert_eq!(error.as_deref(), Some(expected));
        Ok(())
    }
}
