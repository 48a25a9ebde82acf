//! `.dev/stack.env`: how to reach what runs, for shells and programs.
//!
//! One `NAME=value` a line, no quotes, absolute paths. Written when everything is ready, and
//! again whenever something was started again; gone when nothing runs.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::state;

/// Where the file is.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("stack.env")
}

/// Writes the file whole.
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

/// Reads the file, if a stack runs.
///
/// # Errors
/// No stack runs in `folder`.
pub fn read(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path(folder))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
