//! Where things are.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
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

/// A port of the loopback address: the wanted one where it is free, else any that is.
///
/// # Errors
/// No port is free.
pub fn free_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    if let Some(port) = wanted.filter(|port| bind(*port).is_ok()) {
        return Ok(port);
    }
    Ok(bind(0).context("no free port")?.local_addr()?.port())
}
