//! Paths in the workspace, programs in `PATH`, and free ports.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context as _;

/// The top folder of the workspace. It is looked up at run time, so that a checkout can be moved or
/// copied after a build: cargo sets `CARGO_MANIFEST_DIR`, else the search begins at the current
/// directory.
#[must_use]
pub fn repository() -> PathBuf {
    let current = || std::env::current_dir().ok();
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    manifest
        .as_deref()
        .and_then(workspace_above)
        .or_else(|| workspace_above(&current()?))
        .or_else(current)
        .unwrap_or_default()
}

/// Checks that [`repository`] finds this workspace.
///
/// # Errors
/// The program was started outside of it.
pub fn ensure_in_workspace() -> anyhow::Result<()> {
    let repository = repository();
    anyhow::ensure!(
        workspace_above(&repository).is_some(),
        "{} is not in a checkout of the repository: change to its folder first",
        repository.display()
    );
    Ok(())
}

/// The nearest folder, from `folder` upwards, whose `Cargo.toml` is this workspace's.
fn workspace_above(folder: &Path) -> Option<PathBuf> {
    let is_workspace = |folder: &&Path| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
            && folder.join("services/dev/Cargo.toml").is_file()
    };
    folder.ancestors().find(is_workspace).map(Path::to_owned)
}

/// A program in `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Below the kernel's range for outgoing connections. A port in that range can be taken while its
/// server restarts: the kernel may give it to a client that tries to connect to that same port, and
/// then the client is connected to itself.
const PORTS: Range<u16> = 10_000..20_000;

/// A free port of the loopback address: `wanted` if it is free, else any other.
///
/// # Errors
/// No port is free.
pub fn free_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().build_hasher().finish()));
    let others = PORTS.map(|_| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(next).unwrap_or_default()
    });
    wanted
        .into_iter()
        .chain(others)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_found_from_a_folder_inside_it() -> anyhow::Result<()> {
        let top = std::env::temp_dir().join(format!("workspace-{}", uuid::Uuid::new_v4()));
        let inside = top.join("services/dev");
        std::fs::create_dir_all(&inside)?;
        std::fs::write(inside.join("Cargo.toml"), "[package]\n")?;
        std::fs::write(top.join("Cargo.toml"), "[workspace]\n")?;

        assert_eq!(workspace_above(&inside.join("src")), Some(top.clone()));
        assert_eq!(workspace_above(&std::env::temp_dir()), None);

        Ok(std::fs::remove_dir_all(top)?)
    }
}
