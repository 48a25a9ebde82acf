//! The servers of the test run: those that `cargo dev test` started, or own ones for a plain `cargo
//! test`.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;

/// How to reach the servers.
#[derive(Debug, Clone)]
pub struct Servers {
    /// Postgres as the owner of the databases.
    pub database_url: String,
    /// RabbitMQ as the administrator.
    pub amqp_url: String,
    /// RabbitMQ's management API.
    pub management_url: String,
    /// The folder of the servers' data.
    pub data: PathBuf,
    /// The folder of the logs.
    pub logs: PathBuf,
}

/// The process is kept for its standard input: `dev servers` stops when this process ends and
/// closes it.
static OWN: Mutex<Option<(Child, Servers)>> = Mutex::new(None);

/// The servers. The first call starts them if the environment names none.
///
/// # Errors
/// They can't be started.
pub fn servers() -> anyhow::Result<Servers> {
    let given: HashMap<String, String> = std::env::vars().collect();
    if let Some(servers) = of(&given) {
        return Ok(servers);
    }
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, servers)) = own.as_ref() {
        return Ok(servers.clone());
    }
    let (child, servers) = start()?;
    *own = Some((child, servers.clone()));
    Ok(servers)
}

fn start() -> anyhow::Result<(Child, Servers)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["build", "--quiet", "--bins"])
        .current_dir(dev::paths::repository())
        .status()?;
    anyhow::ensure!(built.success(), "the programs don't build");
    let mut child = Command::new(programs()?.join("dev"))
        .arg("servers")
        // Ctrl-C in the terminal must reach the tests only; the servers stop when the tests end.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let mut variables = HashMap::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        let Some((name, value)) = line.split_once('=') else {
            break;
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    let servers = of(&variables).context("the servers did not start")?;
    Ok((child, servers))
}

fn of(variables: &HashMap<String, String>) -> Option<Servers> {
    Some(Servers {
        database_url: variables.get("TEST_DATABASE_URL")?.clone(),
        amqp_url: variables.get("TEST_AMQP_URL")?.clone(),
        management_url: variables.get("TEST_MANAGEMENT_URL")?.clone(),
        data: variables.get("TEST_DATA_DIR")?.into(),
        logs: variables.get("TEST_LOG_DIR")?.into(),
    })
}

/// The folder of the programs under test, which is that of the tests.
///
/// # Errors
/// The test does not run from cargo's target folder.
pub fn programs() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("no target folder")?;
    Ok(folder.to_owned())
}
