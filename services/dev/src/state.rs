//! `.dev/state.json`: the passwords and ports of the dev stack, which stay the same between runs.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The user that owns the databases and administers the broker.
pub const OWNER: &str = "connector_details";

/// Passwords are generated at the first start. They stay as long as the data that they protect.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// The password of the databases' owner.
    pub database_password: String,
    /// The password of the broker's administrator.
    pub broker_password: String,
    /// Signs the tokens of this stack.
    pub jwt_secret: String,
    /// The ports of the last run. A port that is free is used again.
    pub ports: Ports,
}

/// The ports of the servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ports {
    /// Postgres.
    pub postgres: Option<u16>,
    /// RabbitMQ.
    pub amqp: Option<u16>,
    /// RabbitMQ's management page.
    pub management: Option<u16>,
}

impl State {
    fn new() -> Self {
        let random = || Uuid::new_v4().simple().to_string();
        Self {
            database_password: random(),
            broker_password: random(),
            jwt_secret: random() + &random(),
            ports: Ports::default(),
        }
    }

    /// The state of the stack in `folder`; `None` if it was never started.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(folder);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let state = serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged; delete .dev to start with an empty stack",
                path.display()
            )
        })?;
        Ok(Some(state))
    }

    /// The state of the stack in `folder`, or a new one.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self::read(folder)?.unwrap_or_else(Self::new))
    }

    /// Writes the state. Only this user can read the file, because it holds passwords.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        replace(&file(folder), &serde_json::to_vec_pretty(self)?)
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

/// Writes a file under another name and renames it, so that no reader sees a partial file.
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?
            .write_all(content)?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("{} can't be written", path.display()))
}
