//! Configuration, database, broker, health, stop.

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use mimalloc::MiMalloc;
use runtime::{
    logs::{self, LogFormat},
    traces::Traces,
};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use worker::{
    config::{self, Command, Config, ConsumeArgs, Settings},
    health,
    metrics::{self, Oldest},
    migrate,
    publish::{Publisher, events},
    queue::{consumer, context::Context, dead_letters},
    replay, retention,
    store::Store,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Measured: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long the last events may take. What is not announced by then, the next worker announces.
const LAST_EVENTS: Duration = Duration::from_secs(3);

/// One thread: the work is one batch after the other, and handing it between threads costs more
/// than it does.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let config = Config::parse();
    logs::start(match config.command {
        Some(_) => LogFormat::Text,
        None => config.consume.log_format,
    });
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    match &config.command {
        Some(Command::Migrate) => migrate(&config::database()?).await,
        Some(Command::Healthcheck) => health::ask(config.consume.listen).await,
        Some(Command::Replay(args)) => {
            let store = Store::new(config::database()?);
            replay::replay(&config::broker()?, &store, args, std::io::stdout()).await
        }
        None => match config.consume.settings() {
            Ok(_) if config.consume.check_config => Ok(writeln!(
                std::io::stdout(),
                "the configuration is complete"
            )?),
            Ok(settings) => consume(config.consume, settings).await,
            Err(wrong) => {
                for error in &wrong {
                    tracing::error!("{error}");
                }
                anyhow::bail!("the configuration has {} faults", wrong.len())
            }
        },
    }
}

async fn migrate(owner: &PgConnectOptions) -> anyhow::Result<()> {
    let logins = config::logins()?;
    migrate::migrate(owner).await.context("migrating")?;
    tracing::info!("the schema is up to date");
    for (role, login) in logins {
        let name = &login.name;
        migrate::login(owner, role, name, login.password.expose_secret())
            .await
            .with_context(|| format!("the login {name} can't be made"))?;
        tracing::info!(name, "the login is ready");
    }
    Ok(())
}

async fn consume(args: ConsumeArgs, settings: Settings) -> anyhow::Result<()> {
    let uri = settings.broker;
    let store = Store::new(settings.database);
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("LISTEN: {} can't be bound", args.listen))?;
    let metrics_handle = runtime::metrics::install("worker", VERSION)?;
    metrics::describe();
    let traces = Traces::start("connector-details-worker", VERSION)?;
    let stop = stop_on_signal()?;

    let publisher_stop = CancellationToken::new();
    let (publisher, answering) = Publisher::start(uri.clone(), publisher_stop.clone());
    let (connected, is_connected) = watch::channel(false);
    let oldest = Oldest::default();
    let needs = Arc::new(health::Needs {
        database: health::watch_database(store.clone()),
        publisher: publisher.clone(),
        connected: is_connected,
        stop: stop.clone(),
        oldest: oldest.clone(),
    });
    let look = health::refresh_gauges(needs.clone());
    let endpoints = health::router(needs).merge(runtime::metrics::router(metrics_handle, look));
    tokio::spawn(async move { axum::serve(listener, endpoints).await });

    tokio::spawn(retention::keep(
        store.clone(),
        args.ledger_retention,
        stop.clone(),
    ));
    let events_stop = CancellationToken::new();
    let relaying = tokio::spawn(events::relay(
        store.clone(),
        publisher.clone(),
        events_stop.clone(),
    ));
    tokio::spawn(dead_letters::run(
        uri.clone(),
        publisher.clone(),
        stop.clone(),
    ));
    let result = consumer::run(&Context {
        uri,
        store,
        publishers: args.publishers(),
        publisher,
        stop,
        connected,
        oldest,
        traces: traces.clone(),
    })
    .await;
    // After the last batch: its events are still to be announced.
    events_stop.cancel();
    let _ = timeout(LAST_EVENTS, relaying).await;
    // And its replies to be written.
    publisher_stop.cancel();
    answering.await.context("the supervisor of the replies")?;
    tokio::task::spawn_blocking(move || traces.stop()).await?;
    result.context("the broker has another topology than this version's")
}

fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("told to stop; finishing the batch in hand");
        told.cancel();
    });
    Ok(stop)
}
