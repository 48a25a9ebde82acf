//! Starts the gateway: configuration, keys, database, broker, serve, stop.

use std::{io::Write as _, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Parser as _;
use gateway::{
    app::{self, App},
    auth::{Auth, KeySource, Keys},
    commands::client::Commands,
    config::{Command, Config, ServeArgs, Settings},
    events::Changes,
    graphql::{document::DocumentCache, schema},
    http::{
        self,
        pages::{Page, console, graphiql},
    },
    limits::Limits,
    metrics,
    records::Records,
    server,
};
use mimalloc::MiMalloc;
use runtime::{
    broker, health,
    logs::{self, LogFormat},
    stop,
    traces::Traces,
};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longer than the ten seconds that a request may take, so that all open requests are answered before the
/// process ends.
const DRAIN: Duration = Duration::from_secs(12);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The gain is in docs/performance.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    logs::start(match config.command {
        Some(_) => LogFormat::Text,
        None => config.serve.log_format,
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
    match config.command {
        Some(Command::Schema) => Ok(write!(std::io::stdout(), "{}", schema::sdl())?),
        Some(Command::Healthcheck) => health::ask(config.serve.listen).await,
        Some(Command::Token(args)) => Ok(writeln!(std::io::stdout(), "{}", args.sign()?)?),
        None => match config.serve.settings() {
            Ok(_) if config.serve.check_config => Ok(writeln!(
                std::io::stdout(),
                "the configuration is complete"
            )?),
            Ok(settings) => serve(config.serve, settings).await,
            Err(errors) => {
                for error in &errors {
                    tracing::error!("{error:#}");
                }
                anyhow::bail!("the configuration has {} errors", errors.len())
            }
        },
    }
}

async fn serve(args: ServeArgs, settings: Settings) -> anyhow::Result<()> {
    let listener = bind("LISTEN", args.listen).await?;
    let metrics_listener = match args.metrics_listen {
        Some(address) => Some(bind("METRICS_LISTEN", address).await?),
        None => None,
    };
    let metrics_handle = runtime::metrics::install("gateway", VERSION)?;
    metrics::describe();
    let traces = Traces::start("connector-details-gateway", VERSION)?;
    let message = "told to stop; answering the open requests";
    let stop = stop::on_signal_with(args.shutdown_delay, message)?;
    let broker_stop = CancellationToken::new();
    let pages = pages(&args, &settings.keys)?;
    let records = Records::new(settings.database);
    let changes = Changes::start(settings.broker.clone(), stop.close.clone());
    let (commands, mut supervisor) =
        Commands::start(settings.broker, settings.ids, broker_stop.clone());
    let auth = Auth::new(
        Keys::new(settings.keys, settings.fetching).await,
        args.jwt_issuer,
        args.jwt_audience,
        args.jwt_spaces_claim,
    );
    let app = Arc::new(App {
        schema: schema::build(&commands, &records, &changes, args.dev),
        auth: Arc::new(auth),
        commands,
        records,
        limits: Limits::new(&args.limits),
        document: args.document,
        documents: Arc::new(DocumentCache::default()),
        traces: traces.clone(),
        stop: stop.requested,
    });
    if let Some(listener) = metrics_listener {
        let metrics = runtime::metrics::router(metrics_handle, app::refresh_gauges(app.clone()));
        tokio::spawn(async move { axum::serve(listener, metrics).await });
    }
    tracing::info!(listen = %listener.local_addr()?, "serving");
    let router = http::router(app, &args.allowed_origins, pages);
    let server = server::serve(listener, router, &args.connections, stop.close.clone());
    tokio::select! {
        result = server => result.context("serving")?,
        () = drained(&stop.close) => tracing::warn!("some requests did not end in time"),
        ended = &mut supervisor => {
            ended?.context("the broker has another topology than this version's")?;
            return Ok(());
        }
    }
    // The broker connection must outlive the last request, which may wait for its reply.
    broker_stop.cancel();
    if timeout(broker::DEADLINE, supervisor).await.is_err() {
        tracing::warn!("the connection to the broker was not closed in time");
    }
    tokio::task::spawn_blocking(move || traces.stop()).await?;
    Ok(())
}

fn pages(args: &ServeArgs, keys: &KeySource) -> anyhow::Result<Vec<Page>> {
    let mut pages = vec![console::page(&args.jwt_spaces_claim)];
    if args.dev {
        pages.push(graphiql::page(args.graphiql_dir.as_deref(), keys)?);
    }
    Ok(pages)
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting}: {address} can't be bound"))
}

async fn drained(close: &CancellationToken) {
    close.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}
