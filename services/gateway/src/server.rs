//! Accepts connections, limits their number and enforces their timeouts.
//!
//! When the limit is reached, a new connection replaces the one that has been without a complete request
//! for the longest time. So slow clients can't block other clients. A connection with a request in
//! progress is never replaced.

mod args;
mod body;
mod files;
mod phase;
mod places;
mod stream;
mod table;

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode},
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::args::ConnectionArgs;
use self::{
    body::ObservedBody,
    phase::Connection,
    places::{Place, Places},
    stream::Stream,
};
use crate::{log_throttle::LogThrottle, metrics};

/// The maximum size of all headers of a request. Larger ones are answered with 431. Tokens have up to
/// 8 KiB.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The size of a connection's read buffer. Also the size of the write buffer at which no further part of an
/// answer is buffered; a single part may be larger.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// The pause after an accept that failed because of missing file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many new connections may wait while every connection has a request in progress. Most requests take
/// a few milliseconds, so a connection can soon be replaced.
const MAX_WAITING: usize = 64;
const ATTEMPTS: usize = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until `stop` is cancelled, and then until the requests in progress are answered.
///
/// # Errors
/// The limit on open files can't be read.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    args: &ConnectionArgs,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(args, files::available_for(args.max_connections.get())?);
    let sweeper = tokio::spawn(places.clone().sweep());
    // Prepares the routes once instead of for every request.
    let router = router.with_state(());
    let tasks = TaskTracker::new();
    let waiting = Arc::new(Semaphore::new(MAX_WAITING));
    let mut failures = LogThrottle::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => {
                let (router, stop) = (router.clone(), stop.child_token());
                if let Some(place) = places.take(peer.ip()) {
                    let stream = open_stream(socket, place, &places);
                    tasks.spawn(serve_connection(stream, router, stop));
                } else if let Ok(permit) = waiting.clone().try_acquire_owned() {
                    let places = places.clone();
                    tasks.spawn(async move {
                        if let Some(place) = wait_for_place(&places, peer, permit).await {
                            let stream = open_stream(socket, place, &places);
                            serve_connection(stream, router, stop).await;
                        }
                    });
                } else {
                    metrics::connection_closed("refused");
                }
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                if failures.is_due() {
                    tracing::error!(%error, "connections can't be accepted; closing idle ones");
                }
                places.close_oldest();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
    sweeper.abort();
    Ok(())
}

/// Waits a short time for a place. This runs outside of the accept loop, because clients of other addresses
/// may get a place at once.
async fn wait_for_place(
    places: &Places,
    peer: SocketAddr,
    _permit: OwnedSemaphorePermit,
) -> Option<Place> {
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(ATTEMPT_PAUSE).await;
        if let Some(place) = places.take(peer.ip()) {
            return Some(place);
        }
    }
    metrics::connection_closed("refused");
    None
}

fn open_stream(socket: TcpStream, place: Place, places: &Places) -> Stream {
    // Small events must be sent without delay. If this fails, the socket is broken and the next read or
    // write reports it.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY can't be set");
    }
    Stream::new(socket, place, places.idle_timeout())
}

/// Whether the error concerns only the connection that was to be accepted.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

/// Serves one connection until it ends, is replaced or times out, or the gateway stops.
async fn serve_connection(stream: Stream, router: Router, stop: CancellationToken) {
    let connection = stream.connection().clone();
    let router = TowerToHyperService::new(router);
    let service = {
        let connection = connection.clone();
        service_fn(move |request| answer(router.clone(), connection.clone(), request))
    };
    let mut http = http1::Builder::new();
    // The sweeper enforces the timeouts of all connections without a timer for each.
    http.header_read_timeout(None)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES);
    let serving = http.serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving.with_upgrades());
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = connection.closed() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    router: TowerToHyperService<Router>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ObservedBody<Body>>, Infallible> {
    if !connection.begin_request() {
        // The connection is being closed, so the request must not be executed.
        std::future::pending::<()>().await;
    }
    let received = connection.clone();
    let request =
        request.map(|body| Body::new(ObservedBody::new(body, received, Connection::received)));
    let response = router.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.upgrade();
    }
    Ok(response.map(|body| ObservedBody::new(body, connection, Connection::answered)))
}
