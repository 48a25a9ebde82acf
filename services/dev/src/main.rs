//! `cargo dev`: the dev stack, its tokens and its tests.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod commands;

use std::{
    ffi::OsString, io::Read as _, os::unix::process::CommandExt as _, process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser as _;
use dev::{
    paths,
    servers::{SOURCE_VARIABLE, Source},
    services::cargo,
    state::State,
    test_servers::TestServers,
    up,
};
use gateway::auth::dev_token;
use tokio::sync::oneshot;

use self::commands::{
    cli::{Cli, Subcommands},
    prepare, test,
};

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
        }) => test::test(servers.source()?, all, &arguments).await,
        Some(Subcommands::Faults { servers, arguments }) => {
            become_program("faults", servers.source()?, &arguments)
        }
        Some(Subcommands::Bench { servers, arguments }) => {
            become_program("bench", servers.source()?, &arguments)
        }
        Some(Subcommands::Prepare) => prepare::prepare().await,
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
