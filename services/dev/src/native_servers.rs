//! Postgres and RabbitMQ as installed on this machine, started as private instances: their own
//! data, ports and configuration, on the loopback address alone.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::Signal,
    unistd::{Uid, User, geteuid},
};
use tokio::process::Command;

use crate::{
    paths,
    state::OWNER,
    supervisor::{Program, Stop},
};

/// The broker's own name, unique in its name server, which is ours alone.
const NODE: &str = "connector-details@localhost";

/// Where the servers' programs are.
#[derive(Debug, Clone)]
pub struct NativeServers {
    postgres: PathBuf,
    rabbitmq: PathBuf,
    epmd: PathBuf,
}

impl NativeServers {
    /// Looks for the servers: in the places of Debian's packages first, then in `PATH`.
    ///
    /// # Errors
    /// The names of the packages that are missing.
    pub fn find() -> Result<Self, Vec<&'static str>> {
        let (postgres, rabbitmq, epmd) = (postgres(), rabbitmq(), paths::program("epmd"));
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

    /// A private Postgres with its data in `folder`, created if it is not there yet.
    ///
    /// # Errors
    /// `initdb` fails; its own words are in the error.
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
                    // No socket: its folder may not be ours to write.
                    "unix_socket_directories=",
                    "max_connections=200",
                ] {
                    command.arg("-c").arg(setting);
                }
                command
            }),
            log: log.to_owned(),
            pid_file: None,
            // Fast shutdown: does not wait for clients.
            stop: Stop::Signal(Signal::SIGINT),
        })
    }

    async fn initdb(&self, data: &Path, account: &Account, password: &str) -> anyhow::Result<()> {
        fs::create_dir_all(data)?;
        account.own(data)?;
        let secret = data.with_extension("password");
        crate::state::replace(&secret, password.as_bytes())?;
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

    /// RabbitMQ's name server, on a port of its own, so that no other's is used or left behind.
    #[must_use]
    pub fn epmd(&self, log: &Path, port: u16) -> Program {
        let program = self.epmd.clone();
        Program {
            name: "epmd".to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
                command
            }),
            log: log.to_owned(),
            pid_file: None,
            stop: Stop::Signal(Signal::SIGTERM),
        }
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
        let home = folder.join("rabbitmq");
        let logs = log.parent().unwrap_or(folder).to_owned();
        fs::create_dir_all(&home)?;
        crate::state::replace(
            &home.join("rabbitmq.conf"),
            ports.config(password).as_bytes(),
        )?;
        fs::write(home.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        let pid_file = home.join("pid");
        let program = self.rabbitmq.clone();
        let pid = pid_file.clone();
        Ok(Program {
            name: "RabbitMQ".to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                command
                    .env("HOME", &home)
                    // The data belongs to the node's name, which must not change with a port.
                    .env("RABBITMQ_NODENAME", NODE)
                    .env("RABBITMQ_NODE_PORT", ports.amqp.to_string())
                    .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_DIST_PORT", ports.distribution.to_string())
                    .env("ERL_EPMD_PORT", ports.epmd.to_string())
                    .env("ERL_EPMD_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_MNESIA_BASE", home.join("data"))
                    .env("RABBITMQ_LOG_BASE", &logs)
                    .env("RABBITMQ_LOGS", logs.join("rabbitmq.log"))
                    .env(
                        "RABBITMQ_ENABLED_PLUGINS_FILE",
                        home.join("enabled_plugins"),
                    )
                    .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
                    .env("RABBITMQ_CONF_ENV_FILE", home.join("none"))
                    .env("RABBITMQ_PID_FILE", &pid)
                    .current_dir(&home);
                command
            }),
            log: log.with_file_name("rabbitmq.out"),
            pid_file: Some(pid_file),
            stop: Stop::Signal(Signal::SIGTERM),
        })
    }
}

impl NativeServers {
    /// `rabbitmqctl` for the broker of [`NativeServers::rabbitmq`], and the variables that it needs.
    #[must_use]
    pub fn rabbitmqctl(
        &self,
        folder: &Path,
        ports: BrokerPorts,
    ) -> (PathBuf, Vec<(&'static str, String)>) {
        let home = folder.join("rabbitmq").display().to_string();
        let variables = vec![
            // The cookie lies there.
            ("HOME", home),
            ("RABBITMQ_NODENAME", NODE.to_owned()),
            ("ERL_EPMD_PORT", ports.epmd.to_string()),
        ];
        (self.rabbitmq.with_file_name("rabbitmqctl"), variables)
    }
}

/// The ports of a broker.
#[derive(Debug, Clone, Copy)]
pub struct BrokerPorts {
    /// AMQP.
    pub amqp: u16,
    /// The management page and its API.
    pub management: u16,
    /// Erlang's own protocol, for `rabbitmqctl`.
    pub distribution: u16,
    /// Of [`NativeServers::epmd`].
    pub epmd: u16,
}

impl BrokerPorts {
    fn config(self, password: &str) -> String {
        format!(
            "default_user = {OWNER}\n\
             default_pass = {password}\n\
             default_user_tags.administrator = true\n\
             loopback_users = none\n\
             log.file.level = info\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {}\n",
            self.management
        )
    }
}

/// Debian keeps the programs of each version in a folder of their own; the newest is taken.
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

/// Not the wrapper in /usr/sbin, which refuses every user but root and rabbitmq.
fn rabbitmq() -> Option<PathBuf> {
    let packaged = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if packaged.exists() {
        return Some(packaged);
    }
    paths::program("rabbitmq-server").filter(|program| !program.starts_with("/usr/sbin"))
}

/// The user that Postgres runs as: it refuses to run as root.
struct Account {
    other: Option<User>,
    /// Whether that user may pass through the folders above its data, such as a home of root's.
    may_pass: bool,
}

impl Account {
    fn of_postgres(data: &Path) -> anyhow::Result<Self> {
        let other = if geteuid() == Uid::from_raw(0) {
            let user = User::from_name("postgres")?
                .or(User::from_name("nobody")?)
                .context("Postgres refuses to run as root, and there is no user postgres")?;
            Some(user)
        } else {
            None
        };
        let may_pass = data.ancestors().skip(1).all(|folder| {
            fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
        });
        Ok(Self { other, may_pass })
    }

    fn own(&self, path: &Path) -> anyhow::Result<()> {
        match &self.other {
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .with_context(|| format!("{} can't be given away", path.display())),
            None => Ok(()),
        }
    }

    fn command(&self, program: &Path) -> Command {
        match &self.other {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={}", user.uid))
                    .arg(format!("--regid={}", user.gid))
                    .arg("--clear-groups");
                if !self.may_pass {
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
