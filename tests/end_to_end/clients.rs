//! Clients and auditors that others wrote.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde_json::Value;
use tests::{
    api::{SECRET, SPACE, sample},
    external_clients::{node, output, packages_of_python, python},
    stack::{Process, Stack},
};
use tokio::process::Command;

fn program(name: &str) -> PathBuf {
    dev::paths::repository().join("tests/clients").join(name)
}

/// Sets the gateway's URL, the token and the input of the save in the environment of a client program.
fn configured(mut command: Command, gateway: &Process) -> anyhow::Result<Command> {
    let token = gateway::auth::dev_token::sign(SECRET, SPACE, "a client", Duration::from_mins(10))?;
    command
        .env("GRAPHQL_URL", format!("{}/graphql", gateway.url))
        .env("SPACE_GUID", SPACE)
        .env("TOKEN", token)
        .env("INPUT", sample().to_string());
    Ok(command)
}

/// A stack whose gateway allows introspection, or not.
async fn stack(introspection: bool) -> anyhow::Result<(Stack, Process)> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let introspection = introspection.to_string();
    let gateway = stack
        .ready_gateway(&[("GATEWAY_DEV", &introspection)])
        .await?;
    Ok((stack, gateway))
}

async fn saves_and_reads(command: Command) -> anyhow::Result<()> {
    let (_stack, gateway) = stack(true).await?;

    let printed = output(configured(command, &gateway)?).await?;

    let result: Value = serde_json::from_str(&printed)?;
    assert_eq!(result["saved"]["revision"], 1, "{result}");
    assert_eq!(result["found"]["id"], result["saved"]["id"], "{result}");
    assert_eq!(result["refused"]["code"], "BAD_USER_INPUT", "{result}");
    assert_eq!(result["refused"]["field"], "envId", "{result}");
    Ok(())
}

/// As a newcomer pastes it, but for the file that `cargo dev` would have written.
#[tokio::test]
#[ignore = "needs curl: cargo dev test --all"]
async fn the_request_of_the_readme_saves() -> anyhow::Result<()> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## One request").context("no section")?;
    let (_, block) = section.split_once("```sh\n").context("no block")?;
    let (block, _) = block.split_once("```").context("no end")?;
    let (_stack, gateway) = stack(false).await?;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &block.replace(". .dev/stack.env\n", "")])
        .env("GATEWAY_URL", &gateway.url);

    let printed = output(configured(shell, &gateway)?).await?;

    let answer: Value = serde_json::from_str(&printed)?;
    let record = &answer["data"]["saveIPackInstanceOauthConnectorDetails"];
    assert_eq!(record["revision"], 1, "{answer}");
    assert!(!printed.contains("shown to nobody"), "{printed}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn all_graphql_over_http_audits_pass() -> anyhow::Result<()> {
    for introspection in [true, false] {
        let (_stack, gateway) = stack(introspection).await?;
        let audits = node(
            &program("audits.mjs"),
            &["graphql-http@1.23.1", "graphql@16"],
        )
        .await?;

        let printed = output(configured(audits, &gateway)?).await?;

        assert_eq!(
            printed.trim(),
            "61 passed",
            "introspection: {introspection}"
        );
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn apollo_client_saves_and_reads() -> anyhow::Result<()> {
    let packages = ["@apollo/client@4", "graphql@16", "rxjs@7"];
    saves_and_reads(node(&program("apollo.mjs"), &packages).await?).await
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn urql_saves_and_reads() -> anyhow::Result<()> {
    saves_and_reads(node(&program("urql.mjs"), &["@urql/core@6", "graphql@16"]).await?).await
}

#[tokio::test]
#[ignore = "needs Python and its packages: cargo dev test --all"]
async fn gql_saves_and_reads() -> anyhow::Result<()> {
    saves_and_reads(python(&program("gql_client.py"), &["gql[requests]==4.4.0"]).await?).await
}

#[tokio::test]
#[ignore = "needs Python and its packages: cargo dev test --all"]
async fn a_schema_fuzzer_finds_no_error() -> anyhow::Result<()> {
    let (_stack, gateway) = stack(true).await?;
    let packages = packages_of_python(&program("schemathesis"), &["schemathesis==4.32.5"]).await?;
    let token = gateway::auth::dev_token::sign(SECRET, SPACE, "a fuzzer", Duration::from_mins(30))?;
    let mut fuzzer = Command::new("python3");
    fuzzer
        // It leaves files where it stands.
        .current_dir(&packages)
        .env("PYTHONPATH", &packages)
        .args([
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
        ])
        .args(["run", "--max-examples=100", "--seed=1"])
        // By default the tool also reports each validation error as a failure.
        .args(["--checks=not_a_server_error", "--generation-database=none"])
        .args(["-H", &format!("SPACE_GUID: {SPACE}")])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .arg(format!("{}/graphql", gateway.url));

    let printed = output(fuzzer).await?;

    assert!(printed.contains("Tested: 6"), "{printed}");
    Ok(())
}
