//! Where things are.

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

/// The top of the repository that this program was built in.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A program in `PATH`.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Below the ports that the kernel gives to outgoing connections. On one of those, a server that is
/// started again may find its port taken: by a client of its own that tried to connect meanwhile and,
/// by chance, was given that very port, which connects it to itself.
const PORTS: Range<u16> = 10_000..20_000;

/// A port of the loopback address: the wanted one where it is free, else any that is.
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
