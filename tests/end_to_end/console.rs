//! `/console`, as a person uses it: a real Chromium, driven by playwright-core, before a real stack.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use gateway::auth::dev_token;
use nix::sys::signal::Signal;
use tests::{
    api::{SECRET, SPACE},
    external_clients,
    fault_stack::FaultStack,
    stack::Stack,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    sync::OnceCell,
    time::{sleep, timeout},
};

/// A newer one may want a newer Chromium than Debian has.
const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4.14.1"];
/// Installed once, for all tests.
static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
const PATIENCE: Duration = Duration::from_mins(4);

async fn person(scenario: &str, gateway_url: &str) -> anyhow::Result<Command> {
    let program = dev::paths::repository().join("tests/clients/console.mjs");
    let token = |subject, expires_in| dev_token::sign(SECRET, SPACE, subject, expires_in);
    let installing =
        PROGRAM.get_or_try_init(|| external_clients::beside_packages(&program, &PACKAGES));
    let mut command = Command::new("node");
    command
        .arg(installing.await?)
        .arg(scenario)
        .env("GATEWAY_URL", gateway_url)
        .env("SPACE_GUID", SPACE)
        .env("TOKEN", token("a person", Duration::from_mins(10))?)
        .env(
            "OTHER_TOKEN",
            token("another person", Duration::from_mins(10))?,
        )
        .env("SHORT_TOKEN", token("a person", Duration::from_secs(15))?)
        .env(
            "CHROMIUM",
            std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into()),
        )
        .kill_on_drop(true);
    Ok(command)
}

async fn plays(scenario: &str) -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let command = person(scenario, &gateway.url).await?;
    let printed = timeout(PATIENCE, external_clients::output(command)).await??;
    assert_eq!(printed.trim(), "done");
    Ok(())
}

macro_rules! scenarios {
    ($($(#[doc = $doc:literal])* $test:ident plays $scenario:literal;)*) => {$(
        $(#[doc = $doc])*
        #[tokio::test]
        #[ignore = "needs Chromium, Node and its packages: cargo dev test --all"]
        async fn $test() -> anyhow::Result<()> {
            plays($scenario).await
        }
    )*};
}

scenarios! {
    a_connector_is_configured_and_deleted plays "configures";
    what_is_not_changed_stays_byte_for_byte plays "preserves";
    what_is_typed_outlives_refresh_and_tab_and_the_secret_does_not plays "keeps";
    a_draft_is_masked_as_the_service_masks plays "masks";
    a_save_made_elsewhere_appears_and_overwrites_nothing plays "follows";
    an_expired_token_costs_nothing_that_was_typed plays "renews";
    a_save_is_not_made_in_another_persons_name plays "abandons";
    a_link_does_not_replace_a_session_without_asking plays "asks";
    connectors_are_found plays "searches";
    more_that_was_asked_for_is_shown_though_the_list_is_read_again plays "insists";
    the_keyboard_is_enough_and_axe_finds_nothing plays "reads";
}

/// Kills gateway, worker, RabbitMQ and Postgres while a person types. A save that begins during the
/// outage takes effect once afterwards.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium, Node and its packages: cargo dev test --all"]
async fn a_full_restart_loses_no_typed_input() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let mut command = person("survives", &stack.gateway_urls[0]).await?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut says = child.stdin.take().context("no standard input")?;
    let asks = child.stdout.take().context("no standard output")?;
    let mut asks = BufReader::new(asks).lines();
    let play = async {
        let mut away = None;
        while let Some(line) = asks.next_line().await? {
            match line.as_str() {
                "kill" => {
                    stack.kill_all().await;
                    away = Some(tokio::spawn(stay_away(stack.gateways.clone())));
                }
                "start" => {
                    if let Some(away) = away.take() {
                        away.abort();
                    }
                    stack.ready().await?;
                }
                "done" => return Ok(true),
                other => anyhow::bail!("{other}"),
            }
            says.write_all(b"\n").await?;
        }
        Ok(false)
    };
    let is_done = timeout(PATIENCE, play).await??;

    assert!(is_done && child.wait().await?.success());
    stack.stop().await;
    Ok(())
}

/// The supervisor restarts the gateway at once. Killing it repeatedly keeps it down for a while.
async fn stay_away(gateways: Vec<dev::supervisor::Supervised>) {
    loop {
        for gateway in &gateways {
            let _ = gateway.signal(Signal::SIGKILL).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
