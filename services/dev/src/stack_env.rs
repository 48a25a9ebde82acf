//! `.dev/stack.env`: the addresses and pids of the running stack, for shells and programs.
//!
//! Each line is `NAME=value`, without quotes and with absolute paths. The file is written when
//! everything is ready and after each restart of a program, and deleted when the stack stops.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::state;

/// The path of the file.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("stack.env")
}

/// Writes the file in one step.
///
/// # Errors
/// It can't be written.
pub fn write(folder: &Path, variables: &[(&str, String)]) -> anyhow::Result<()> {
    let mut text = String::new();
    for (name, value) in variables {
        writeln!(text, "{name}={value}")?;
    }
    state::replace(&path(folder), text.as_bytes())
}
