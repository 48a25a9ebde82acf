//! What the dev stack remembers between runs, in `.dev/state.json`: its passwords and its ports.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The user that owns the private databases.
pub const OWNER: &str = "connector_details";

/// Made up at the first start, and kept with the data that they open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Of the databases' owner.
    pub database_password: String,
    /// Of the broker's administrator.
    pub broker_password: String,
    /// Signs the tokens of this stack.
    pub jwt_secret: String,
    /// The ports of the last run; taken again where they are free.
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

    /// The state of the stack in `folder`, if it was ever started.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = file(folder);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let state = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; delete .dev to begin anew", path.display()))?;
        Ok(Some(state))
    }

    /// The state of the stack in `folder`, made up where there is none.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self::read(folder)?.unwrap_or_else(Self::new))
    }

    /// Remembers the state. Nobody else may read it: it holds passwords.
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

/// Writes a file whole, under another name first, so that no reader ever sees half of it.
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
