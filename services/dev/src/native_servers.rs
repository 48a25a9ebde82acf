//! Postgres and RabbitMQ as installed on this machine, started as private instances: with data,
//! ports and configuration of their own, and on the loopback address only.

mod account;
mod rabbitmq;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use self::account::Account;
pub use self::rabbitmq::BrokerPorts;
use crate::{
    paths,
    state::{self, OWNER},
    supervisor::{Program, Stop},
};

/// The servers' programs on this machine.
#[derive(Debug, Clone)]
pub struct NativeServers {
    postgres: PathBuf,
    rabbitmq: PathBuf,
    epmd: PathBuf,
}

impl NativeServers {
    /// Finds the servers: first where Debian's packages put them, then in `PATH`.
    ///
    /// # Errors
    /// The names of the packages that are missing.
    pub fn find() -> Result<Self, Vec<&'static str>> {
        let (postgres, rabbitmq, epmd) = (postgres(), rabbitmq::find(), paths::program("epmd"));
        match (postgres, rabbitmq, epmd) {
            (Some(postgres), Some(rabbitmq), Some(epmd)) => Ok(Self {
                postgres,
                rabbitmq,
                epmd,
            }),
            (postgres, rabbitmq, epmd) => {
                let missing = [
                    (postgres.is_none(), "postgresql"),
                    (rabbitmq.is_none() || epmd.is_none(), "rabbitmq-server"),
                ];
                Err(missing
                    .iter()
                    .filter(|(is_missing, _)| *is_missing)
                    .map(|(_, package)| *package)
                    .collect())
            }
        }
    }

    /// A private Postgres with its data in `folder`. The data is created if it does not exist.
    ///
    /// # Errors
    /// `initdb` fails; the error holds its output.
    pub async fn postgres(
        &self,
        folder: &Path,
        log: &Path,
        port: u16,
        password: &str,
    ) -> anyhow::Result<Program> {
        let data = folder.join("postgres");
        let account = Account::of_postgres(&data)?;
        if !data.join("PG_VERSION").exists() {
            self.initdb(&data, &account, password).await?;
        }
        let program = self.postgres.join("postgres");
        Ok(Program {
            name: "Postgres".to_owned(),
            command: Box::new(move || {
                let mut command = account.command(&program);
                command.arg("-D").arg(&data);
                for setting in [
                    "listen_addresses=127.0.0.1",
                    &format!("port={port}"),
                    // No Unix socket: its folder may not be writable.
                    "unix_socket_directories=",
                    "max_connections=200",
                ] {
                    command.arg("-c").arg(setting);
                }
                command
            }),
            log: log.to_owned(),
            pid_file: None,
            // Fast shutdown: Postgres does not wait for its clients.
            stop: Stop::Signal(Signal::SIGINT),
        })
    }

    async fn initdb(&self, data: &Path, account: &Account, password: &str) -> anyhow::Result<()> {
        fs::create_dir_all(data)?;
        account.own(data)?;
        let secret = data.with_extension("password");
        state::replace(&secret, password.as_bytes())?;
        account.own(&secret)?;
        let output = account
            .command(&self.postgres.join("initdb"))
            .args([
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["-U", OWNER])
            .arg("--pwfile")
            .arg(&secret)
            .arg("-D")
            .arg(data)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("initdb can't be started");
        fs::remove_file(&secret)?;
        let output = output?;
        if !output.status.success() {
            let _ = fs::remove_dir_all(data);
            bail!("initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Erlang's name server for the broker.
    #[must_use]
    pub fn epmd(&self, log: &Path, port: u16) -> Program {
        rabbitmq::epmd(&self.epmd, log, port)
    }

    /// A private RabbitMQ with its data in `folder`.
    ///
    /// # Errors
    /// Its configuration can't be written.
    pub fn rabbitmq(
        &self,
        folder: &Path,
        log: &Path,
        ports: BrokerPorts,
        password: &str,
    ) -> anyhow::Result<Program> {
        rabbitmq::server(&self.rabbitmq, folder, log, ports, password)
    }

    /// `rabbitmqctl` for the broker of [`NativeServers::rabbitmq`], with its environment.
    #[must_use]
    pub fn rabbitmqctl(
        &self,
        folder: &Path,
        ports: BrokerPorts,
    ) -> (PathBuf, Vec<(&'static str, String)>) {
        let program = self.rabbitmq.with_file_name("rabbitmqctl");
        (program, rabbitmq::ctl_environment(folder, ports))
    }
}

/// The folder of Postgres's programs. Debian has one for each version; the newest is used.
fn postgres() -> Option<PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql")
        .ok()
        .and_then(|folders| {
            folders
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    let version: u32 = entry.file_name().to_str()?.parse().ok()?;
                    Some((version, entry.path().join("bin")))
                })
                .filter(|(_, folder)| {
                    folder.join("initdb").exists() && folder.join("postgres").exists()
                })
                .max()
                .map(|(_, folder)| folder)
        });
    packaged.or_else(|| paths::program("initdb")?.parent().map(Path::to_owned))
}
