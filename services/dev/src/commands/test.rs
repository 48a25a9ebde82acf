//! `cargo dev test`: starts servers, and runs the tests.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{bail, ensure};
use dev::{
    docker,
    servers::Source,
    services::{self, cargo},
    signals::until_stopped,
    test_servers::TestServers,
};

/// Runs the tests. `all`: also those that need external tools.
pub async fn test(
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::commands::cli::{Cli, Subcommands};

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
