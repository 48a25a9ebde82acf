//! A private RabbitMQ: its configuration, environment and name server.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::{
    paths,
    state::{self, OWNER},
    supervisor::{Program, Stop},
};

/// The node's name. It is unique, because the broker has an epmd of its own.
const NODE: &str = "connector-details@localhost";

/// The ports of a broker.
#[derive(Debug, Clone, Copy)]
pub struct BrokerPorts {
    /// AMQP.
    pub amqp: u16,
    /// The management page and its API.
    pub management: u16,
    /// Erlang's distribution protocol, for `rabbitmqctl`.
    pub distribution: u16,
    /// Erlang's name server (epmd).
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

    fn environment(self, home: &Path, logs: &Path) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        vec![
            ("HOME", path(home)),
            // The data belongs to the node's name, so the name must not contain a port.
            ("RABBITMQ_NODENAME", NODE.to_owned()),
            ("RABBITMQ_NODE_PORT", self.amqp.to_string()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_DIST_PORT", self.distribution.to_string()),
            ("ERL_EPMD_PORT", self.epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", path(&home.join("data"))),
            ("RABBITMQ_LOG_BASE", path(logs)),
            ("RABBITMQ_LOGS", path(&logs.join("rabbitmq.log"))),
            (
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                path(&home.join("enabled_plugins")),
            ),
            ("RABBITMQ_CONFIG_FILE", path(&home.join("rabbitmq.conf"))),
            ("RABBITMQ_CONF_ENV_FILE", path(&home.join("none"))),
            ("RABBITMQ_PID_FILE", path(&home.join("pid"))),
        ]
    }
}

/// The installed `rabbitmq-server`. Debian's wrapper in /usr/sbin is avoided: it refuses every user
/// except root and rabbitmq.
pub(super) fn find() -> Option<PathBuf> {
    let packaged = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
    if packaged.exists() {
        return Some(packaged);
    }
    paths::program("rabbitmq-server").filter(|program| !program.starts_with("/usr/sbin"))
}

/// The broker, with its data in `folder`.
pub(super) fn server(
    program: &Path,
    folder: &Path,
    log: &Path,
    ports: BrokerPorts,
    password: &str,
) -> anyhow::Result<Program> {
    let home = folder.join("rabbitmq");
    let logs = log.parent().unwrap_or(folder).to_owned();
    fs::create_dir_all(&home)?;
    state::replace(
        &home.join("rabbitmq.conf"),
        ports.config(password).as_bytes(),
    )?;
    fs::write(home.join("enabled_plugins"), "[rabbitmq_management].\n")?;
    let program = program.to_owned();
    let pid_file = home.join("pid");
    Ok(Program {
        name: "RabbitMQ".to_owned(),
        command: Box::new(move || {
            let mut command = Command::new(&program);
            command
                .envs(ports.environment(&home, &logs))
                .current_dir(&home);
            command
        }),
        log: log.with_file_name("rabbitmq.out"),
        pid_file: Some(pid_file),
        stop: Stop::Signal(Signal::SIGTERM),
    })
}

/// The environment that `rabbitmqctl` needs for the broker of [`server`].
pub(super) fn ctl_environment(folder: &Path, ports: BrokerPorts) -> Vec<(&'static str, String)> {
    vec![
        // The Erlang cookie is in this folder.
        ("HOME", folder.join("rabbitmq").display().to_string()),
        ("RABBITMQ_NODENAME", NODE.to_owned()),
        ("ERL_EPMD_PORT", ports.epmd.to_string()),
    ]
}

/// Erlang's name server. With a port of its own, another node's epmd is neither used nor left
/// running.
pub(super) fn epmd(program: &Path, log: &Path, port: u16) -> Program {
    let program = program.to_owned();
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
