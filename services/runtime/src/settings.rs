//! Reads secrets and durations from the environment.
//!
//! A secret comes from an environment variable or a file, never from an argument: every user of the machine
//! can read the arguments of a process. No error shows a value.

use std::{fs, io, str::FromStr, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

/// Why a setting can't be used. It names the variable and never shows the value.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The value and the file are both set, so it is not clear which one counts.
    #[error("{0} and {0}_FILE are both set; set one of them")]
    Twice(&'static str),
    /// The file is missing, or this process may not read it.
    #[error("{name}_FILE: {path} can't be read")]
    Unreadable {
        /// The name of the variable without `_FILE`.
        name: &'static str,
        /// The file.
        path: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The setting is required.
    #[error("{0} is not set, nor is {0}_FILE")]
    Missing(&'static str),
    /// The value can't be parsed.
    #[error("{0} is malformed: see --help for its form")]
    Malformed(&'static str),
}

/// Reads a secret from the variable `name`, or from the file whose path is in the variable `name_FILE`. A
/// line break at the end of the file is not part of the secret.
///
/// # Errors
/// Both are set, or the file can't be read.
pub fn find(name: &'static str) -> Result<Option<SecretString>, SettingError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable(name), variable(&format!("{name}_FILE"))) {
        (Some(_), Some(_)) => Err(SettingError::Twice(name)),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).into())),
            Err(source) => Err(SettingError::Unreadable { name, path, source }),
        },
        (None, None) => Ok(None),
    }
}

/// Reads and parses a required secret.
///
/// # Errors
/// As [`find`], and if the secret is not set or can't be parsed.
pub fn parsed<T: FromStr>(name: &'static str) -> Result<T, SettingError> {
    let value = find(name)?.ok_or(SettingError::Missing(name))?;
    let parsed = value.expose_secret().parse().ok();
    parsed.ok_or(SettingError::Malformed(name))
}

/// Reads a duration such as `30s`, `5m`, `12h` or `1d`.
///
/// # Errors
/// The text has another form, or is too large.
pub fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || "must be a number and s, m, h or d, such as 30s, 5m or 1d".to_owned();
    let unit = text.chars().next_back().ok_or_else(malformed)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(malformed()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| malformed())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(malformed)
}
