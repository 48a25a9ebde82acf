//! Settings that are worth stealing. They come by the environment or from a file, and never as an
//! argument, which everyone on the machine can read; and no error shows what is in one.

use std::{fs, str::FromStr};

use anyhow::{Context as _, bail};
use secrecy::{ExposeSecret as _, SecretString};

/// Reads a secret from the variable of this name, or from the file that the variable of this name
/// and `_FILE` names; a line end at the end of the file is not part of it.
///
/// # Errors
/// Both are set, or the file can't be read.
pub fn find(name: &str) -> anyhow::Result<Option<SecretString>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let by_file = format!("{name}_FILE");
    match (variable(name), variable(&by_file)) {
        (Some(_), Some(_)) => bail!("{name} and {by_file} are both set; set one of them"),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("{by_file}: {path} can't be read"))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
        }
        (None, None) => Ok(None),
    }
}

/// Reads and parses a secret that is needed.
///
/// # Errors
/// As [`find`]; or it is not set, or malformed.
pub fn parsed<T: FromStr>(name: &str) -> anyhow::Result<T> {
    let value = find(name)?.with_context(|| format!("{name} is not set, nor is {name}_FILE"))?;
    let parsed = value.expose_secret().parse().ok();
    parsed.with_context(|| format!("{name} is malformed: see --help for its form"))
}
