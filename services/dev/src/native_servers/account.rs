//! The system user that Postgres runs as.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
};

use anyhow::Context as _;
use nix::unistd::{Uid, User, geteuid};
use tokio::process::Command;

/// The user that Postgres runs as. Postgres refuses to run as root.
pub(super) struct Account {
    /// `None`: the user of this process.
    other: Option<User>,
    /// Whether that user can enter all folders above the data. Root's home, for example, is closed.
    can_enter: bool,
}

impl Account {
    pub(super) fn of_postgres(data: &Path) -> anyhow::Result<Self> {
        let other = if geteuid() == Uid::from_raw(0) {
            let user = User::from_name("postgres")?
                .or(User::from_name("nobody")?)
                .context("Postgres refuses to run as root, and there is no user postgres")?;
            Some(user)
        } else {
            None
        };
        let can_enter = data.ancestors().skip(1).all(|folder| {
            fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
        });
        Ok(Self { other, can_enter })
    }

    /// Makes that user the owner of a file or folder.
    pub(super) fn own(&self, path: &Path) -> anyhow::Result<()> {
        match &self.other {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("the owner of {} can't be changed", path.display())),
            None => Ok(()),
        }
    }

    /// A command that runs as that user.
    pub(super) fn command(&self, program: &Path) -> Command {
        match &self.other {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", user.uid))
                    .arg(format!("--regid={}", user.gid))
                    .arg("--clear-groups");
                if !self.can_enter {
                    command.args([
                        "--inh-caps=+dac_read_search",
                        "--ambient-caps=+dac_read_search",
                    ]);
                }
                command.arg("--").arg(program).current_dir("/");
                command
            }
        }
    }
}
