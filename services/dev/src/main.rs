//! `cargo dev`: the dev stack, its tokens and its tests.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

use std::{
    ffi::OsString, io::Read as _, os::unix::process::CommandExt as _, process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, Subcommand};
use dev::{
    docker, paths,
    servers::{SOURCE_VARIABLE, Source},
    services::{self, cargo},
    signals::until_stopped,
    state::State,
    test_servers::TestServers,
    up::{self, UpArgs},
};
use gateway::auth::dev_token;
use runtime::settings;
use tokio::sync::oneshot;

/// Starts Postgres, RabbitMQ, gateway and worker, and restarts them until Ctrl-C.
#[derive(Parser)]
#[command(
    name = "cargo dev",
    bin_name = "cargo dev",
    version,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,

    #[command(flatten)]
    up: UpArgs,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Print a token that the stack accepts.
    Token {
        /// The Space of the token.
        #[arg(long, value_name = "GUID")]
        space: String,

        /// How long it is valid: 30s, 5m, 12h, 1d.
        #[arg(long, default_value = "5m", value_parser = settings::duration)]
        expires_in: Duration,

        /// The subject of the token.
        #[arg(long, value_name = "NAME", default_value = "developer")]
        subject: String,
    },
    /// Start servers for the tests, run all tests, stop the servers.
    Test {
        #[command(flatten)]
        servers: ServersArgs,

        /// Also run the tests that need external tools: Python and Node with packages, Prometheus,
        /// kubectl, and Docker if an engine is available.
        #[arg(long)]
        all: bool,

        /// Passed on to cargo test.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Kill, freeze and disconnect each part under load, and print the results: fifteen minutes. The
    /// last test needs root, to mount a file system that it can fill.
    Faults {
        #[command(flatten)]
        servers: ServersArgs,

        /// Passed on to the tests: a part of a name, such as broker.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Compare the speed with a plain service that writes each row itself: fifteen minutes, or less than
    /// one with --quick.
    #[command(disable_help_flag = true)]
    Bench {
        #[command(flatten)]
        servers: ServersArgs,

        /// --help lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Update .sqlx, which holds the types of all queries for the schema of migrations/. After a query
    /// was changed, cargo can't compile until this has run: use target/debug/dev prepare.
    Prepare,
    /// Generate the published contract from proto's types: proto/asyncapi.yaml and proto/schemas.
    Contract,
    /// Start servers for the tests, print their addresses, and stop them when the input ends.
    #[command(hide = true)]
    Servers,
}

#[derive(clap::Args)]
struct ServersArgs {
    /// Where Postgres and RabbitMQ come from. Default: that of DEV_SERVERS; without it, docker if an
    /// engine is available.
    #[arg(long, value_name = "SOURCE", ignore_case = true)]
    servers: Option<Source>,
}

impl ServersArgs {
    /// The option, or else the variable, which every program reads in the same way.
    fn source(&self) -> anyhow::Result<Option<Source>> {
        match self.servers {
            Some(source) => Ok(Some(source)),
            None => Source::from_environment(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match paths::ensure_in_workspace() {
        Ok(()) => run(cli).await,
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cargo dev: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => up::up(cli.up).await.map(|()| ExitCode::SUCCESS),
        Some(Subcommands::Token {
            space,
            expires_in,
            subject,
        }) => print_token(&space, &subject, expires_in),
        Some(Subcommands::Test {
            servers,
            all,
            arguments,
        }) => test(servers.source()?, all, &arguments).await,
        Some(Subcommands::Faults { servers, arguments }) => {
            become_program("faults", servers.source()?, &arguments)
        }
        Some(Subcommands::Bench { servers, arguments }) => {
            become_program("bench", servers.source()?, &arguments)
        }
        Some(Subcommands::Prepare) => prepare().await,
        Some(Subcommands::Contract) => contract(),
        Some(Subcommands::Servers) => servers().await,
    }
}

fn print_token(space: &str, subject: &str, expires_in: Duration) -> anyhow::Result<ExitCode> {
    let state = State::read(&up::folder())?
        .context("no stack was started here yet; start one with cargo dev")?;
    println!(
        "{}",
        dev_token::sign(&state.jwt_secret, space, subject, expires_in)?
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds a program of `tests/`, and replaces this process by it.
fn become_program(
    name: &str,
    source: Option<Source>,
    arguments: &[OsString],
) -> anyhow::Result<ExitCode> {
    let mut program = cargo().into_std();
    program.args(["run", "--locked", "--bin", name, "--"]);
    program.envs(source.map(|source| (SOURCE_VARIABLE, source.name())));
    let error = program.args(arguments).exec();
    Err(error).context("cargo can't be started")
}

async fn test(
    source: Option<Source>,
    all: bool,
    arguments: &[OsString],
) -> anyhow::Result<ExitCode> {
    check_passed_on(all, arguments)?;
    until_stopped(services::build(&services::SERVICES, false)).await?;
    TestServers::during(source, async |servers| {
        for ignored in [false, true].into_iter().take(if all { 2 } else { 1 }) {
            let mut tests = cargo();
            tests
                .args(["test", "--workspace", "--locked"])
                .args(arguments)
                .envs(servers.variables());
            if ignored {
                // `cargo dev faults` runs the long fault tests. The performance tests need a machine
                // without other load.
                tests.args([
                    "--test",
                    "end_to_end",
                    "--",
                    "--ignored",
                    "--skip",
                    "performance::",
                ]);
                if !docker::answers().await {
                    eprintln!(
                        "no Docker engine is available: the images and docker-compose.yml are not tested"
                    );
                    tests.args(["--skip", "containers::"]);
                }
            }
            if !services::run_tests(tests).await?.success() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Refuses arguments of `cargo dev test` that would silently have another effect.
fn check_passed_on(all: bool, arguments: &[OsString]) -> anyhow::Result<()> {
    let for_cargo = arguments.iter().take_while(|it| *it != "--");
    let count = for_cargo.clone().count();
    for argument in for_cargo.map(|it| it.to_string_lossy()) {
        let name = argument.split('=').next().unwrap_or_default();
        if ["--all", "--servers"].contains(&name) {
            bail!(
                "{name} must stand before the arguments for cargo test: cargo dev test {name} ..."
            );
        }
    }
    // A second run of cargo test appends its own `--`, which would be one of the user's arguments.
    ensure!(
        !all || count == arguments.len(),
        "--all can't be combined with --; to run one test that --all adds: \
         cargo dev test --test end_to_end -- --ignored NAME"
    );
    Ok(())
}

/// Compiles the checked queries against a database that has the current schema.
async fn prepare() -> anyhow::Result<ExitCode> {
    TestServers::during(Source::from_environment()?, async |servers| {
        prepare_against(&servers.servers.database_url).await?;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

async fn prepare_against(database_url: &str) -> anyhow::Result<()> {
    // The migrations are read from disk, because this program may have been built before a change.
    let pool = sqlx::PgPool::connect(database_url).await?;
    let migrations = sqlx::migrate::Migrator::new(paths::repository().join("migrations")).await?;
    migrations.run(&pool).await?;
    pool.close().await;
    let folder = paths::repository().join(".sqlx");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    for crate_root in ["services/gateway/src/lib.rs", "services/worker/src/lib.rs"] {
        // Cargo compiles a crate again if one of its files is newer than the last build.
        let file = std::fs::File::options()
            .append(true)
            .open(paths::repository().join(crate_root))?;
        file.set_modified(std::time::SystemTime::now())?;
    }
    let status = cargo()
        .args(["check", "--workspace", "--quiet"])
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &folder)
        .env("DATABASE_URL", database_url)
        .kill_on_drop(true)
        .status()
        .await?;
    ensure!(status.success(), "the queries don't fit the schema");
    Ok(())
}

fn contract() -> anyhow::Result<ExitCode> {
    let files = proto::contract::files().map_err(|error| anyhow::anyhow!("{error}"))?;
    for file in files {
        let path = paths::repository().join("proto").join(&file.path);
        std::fs::create_dir_all(path.parent().context("a file of the contract")?)?;
        std::fs::write(&path, file.text)?;
        println!("proto/{}", file.path);
    }
    Ok(ExitCode::SUCCESS)
}

async fn servers() -> anyhow::Result<ExitCode> {
    TestServers::during(Source::from_environment()?, async |servers| {
        for (name, value) in servers.variables() {
            println!("{name}={value}");
        }
        println!();
        // A thread, because the runtime would wait for a blocking task until the input ends.
        let (ended, end) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = ended.send(std::io::stdin().read_to_end(&mut Vec::new()));
        });
        end.await??;
        Ok(ExitCode::SUCCESS)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cargo dev test` with these arguments passes on, or its error.
    fn passed_on(arguments: &[&str]) -> anyhow::Result<Vec<OsString>> {
        let cli = Cli::try_parse_from([&["cargo dev", "test"][..], arguments].concat())?;
        let Some(Subcommands::Test { all, arguments, .. }) = cli.command else {
            bail!("another command");
        };
        check_passed_on(all, &arguments)?;
        Ok(arguments)
    }

    #[test]
    fn arguments_with_another_effect_are_refused() -> anyhow::Result<()> {
        let one = ["--test", "end_to_end", "--", "--ignored", "NAME"];
        assert_eq!(passed_on(&one)?, one);
        assert_eq!(passed_on(&["--all", "NAME"])?, ["NAME"]);
        assert!(passed_on(&["NAME", "--", "--all"]).is_ok());

        assert!(passed_on(&[&["--all"][..], &one[..]].concat()).is_err());
        assert!(passed_on(&["NAME", "--all"]).is_err());
        assert!(passed_on(&["NAME", "--servers", "docker"]).is_err());
        assert!(passed_on(&["NAME", "--servers=docker"]).is_err());
        Ok(())
    }
}
