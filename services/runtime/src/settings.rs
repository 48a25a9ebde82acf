//! Settings as both services read them. Those that are worth stealing come by the environment or from
//! a file, and never as an argument, which everyone on the machine can read. No error shows what is
//! in one.

use std::{fs, io, str::FromStr, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

/// What is wrong with a setting. It names the variable, and not what is in it.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// Nobody can say which one is meant.
    #[error("{0} and {0}_FILE are both set; set one of them")]
    Twice(&'static str),
    /// The file is not there, or not for us.
    #[error("{name}_FILE: {path} can't be read")]
    Unreadable {
        /// The variable, without its ending.
        name: &'static str,
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is needed.
    #[error("{0} is not set, nor is {0}_FILE")]
    Missing(&'static str),
    /// It has another form.
    #[error("{0} is malformed: see --help for its form")]
    Malformed(&'static str),
}

/// Reads a secret from the variable of this name, or from the file that the variable of this name
/// and `_FILE` names; a line end at the end of the file is not part of it.
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

/// Reads and parses a secret that is needed.
///
/// # Errors
/// As [`find`]; or it is not set, or malformed.
pub fn parsed<T: FromStr>(name: &'static str) -> Result<T, SettingError> {
    let value = find(name)?.ok_or(SettingError::Missing(name))?;
    let parsed = value.expose_secret().parse().ok();
    parsed.ok_or(SettingError::Malformed(name))
}

/// Reads a duration such as `30s`, `5m`, `12h` or `1d`.
///
/// # Errors
/// Another form.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and s, m, h or d, such as 30s, 5m or 1d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}
