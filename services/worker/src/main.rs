//! Reads the configuration, then runs one of the subcommands, or consumes until a signal stops it.

use std::{io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use clap::Parser as _;
use mimalloc::MiMalloc;
use runtime::{
    logs::{self, LogFormat},
    stop,
    traces::Traces,
};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use worker::{
    config::{self, Command, Config, ConsumeArgs, Settings},
    health,
    metrics::{self, Oldest},
    migrate,
    publish::{Publisher, relay},
    queue::{consumer, context::Context, dead_letters},
    replay, retention,
    store::Store,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Faster than the system's allocator for this program. Measured: docs/performance.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long to publish events at shutdown. Events that are still in the outbox after that are published
/// by the next worker.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(3);

/// A single thread, because batches are processed one after the other: moving a batch between threads
/// costs more time than a second thread saves.
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
        Some(Command::Healthcheck) => runtime::health::ask(config.consume.listen).await,
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
            Err(errors) => {
                for error in &errors {
                    tracing::error!("{error}");
                }
                anyhow::bail!("the configuration has {} errors", errors.len())
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
            .with_context(|| format!("the login {name} can't be created"))?;
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
    let message = "told to stop; finishing the current batch";
    let stop = stop::on_signal_with(Duration::ZERO, message)?.close;

    let publisher_stop = CancellationToken::new();
    let (publisher, publisher_task) = Publisher::start(uri.clone(), publisher_stop.clone());
    let (connected, is_connected) = watch::channel(false);
    let oldest = Oldest::default();
    let health = Arc::new(health::Health {
        database: health::watch_database(store.clone()),
        publisher: publisher.clone(),
        connected: is_connected,
        stop: stop.clone(),
        oldest: oldest.clone(),
    });
    let refresh_gauges = health::refresh_gauges(health.clone());
    let endpoints =
        health::router(health).merge(runtime::metrics::router(metrics_handle, refresh_gauges));
    tokio::spawn(serve(listener, endpoints));

    let retention = args.ledger_retention;
    tokio::spawn(retention::run(store.clone(), retention, stop.clone()));
    let relay_stop = CancellationToken::new();
    let relay = relay::run(store.clone(), publisher.clone(), relay_stop.clone());
    let relay_task = tokio::spawn(relay);
    let dead_letters = dead_letters::run(uri.clone(), publisher.clone(), stop.clone());
    tokio::spawn(dead_letters);
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
    // The relay stops after the consumer, so that it publishes the events of the last batch.
    relay_stop.cancel();
    finish_relay(relay_task).await;
    // The publisher stops last: the consumer hands over replies, and the relay uses its connection.
    publisher_stop.cancel();
    publisher_task.await.context("the task that publishes")?;
    tokio::task::spawn_blocking(move || traces.stop()).await?;
    result.context("the broker has another topology than this version's")
}

async fn serve(listener: TcpListener, endpoints: Router) {
    if let Err(error) = axum::serve(listener, endpoints).await {
        tracing::error!(%error, "the endpoints for health and metrics have ended");
    }
}

async fn finish_relay(task: JoinHandle<()>) {
    match timeout(LAST_EVENTS_TIMEOUT, task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the outbox relay has failed"),
        Err(_) => tracing::warn!(
            "the last events could not be published in time; they are kept in the outbox"
        ),
    }
}
