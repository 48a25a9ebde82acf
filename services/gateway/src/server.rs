//! The accept loop: how many connections there may be, and how long a client may take.
//!
//! Where all places are taken, a newcomer gets the place of the connection that has been without a
//! complete request for the longest time. So slow clients, however many, lock nobody out. A
//! connection with a request in work is never closed for another.

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
    body::Watched,
    phase::Connection,
    places::{Place, Places},
    stream::Stream,
};
use crate::{log_throttle::LogThrottle, metrics};

/// All headers of a request. More is answered with 431. Tokens have 8 KiB at most.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// What is kept of a connection's bytes that came and were not looked at yet. Of an answer, no further
/// part is taken while this much waits to be sent; but each part is taken whole, however large it is.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// After an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Newcomers that wait where every connection has a request in work, which most have for some
/// milliseconds only; how often they ask for a place, and the pause between.
const WAITING: usize = 64;
const ATTEMPTS: usize = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until told to stop, and then until the requests in work are answered.
///
/// # Errors
/// The limit on open files can't be read.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    args: &ConnectionArgs,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(args, files::room_for(args.max_connections.get())?);
    let sweeper = tokio::spawn(places.clone().sweep());
    // Once, and not for every request.
    let router = router.with_state(());
    let tasks = TaskTracker::new();
    let waiting = Arc::new(Semaphore::new(WAITING));
    let mut failures = LogThrottle::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => {
                let (router, stop) = (router.clone(), stop.child_token());
                if let Some(place) = places.take(peer.ip()) {
                    let stream = prepared(socket, place, &places);
                    tasks.spawn(converse(stream, router, stop));
                } else if let Ok(turn) = waiting.clone().try_acquire_owned() {
                    let places = places.clone();
                    tasks.spawn(async move {
                        if let Some(place) = place_soon(&places, peer, turn).await {
                            converse(prepared(socket, place, &places), router, stop).await;
                        }
                    });
                } else {
                    metrics::connection_closed("refused");
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                if failures.is_due() {
                    tracing::error!(%error, "no connection can be accepted; closing idle ones");
                }
                places.make_room();
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

/// A place for a newcomer that has to wait for one, if there is one soon. Not awaited by the accept
/// loop: others may get a place at once, where only one address has used up its share.
async fn place_soon(
    places: &Places,
    peer: SocketAddr,
    _turn: OwnedSemaphorePermit,
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

fn prepared(socket: TcpStream, place: Place, places: &Places) -> Stream {
    // Events are small, and are wanted at once. A socket that refuses is broken and will say so.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY can't be set");
    }
    Stream::new(socket, place, places.idle_timeout())
}

/// Whether only the connection that was about to be accepted is gone.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

/// Serves one connection until it ends, or is closed to make room, or the gateway stops.
async fn converse(stream: Stream, router: Router, stop: CancellationToken) {
    let connection = stream.connection().clone();
    let router = TowerToHyperService::new(router);
    let service = {
        let connection = connection.clone();
        service_fn(move |request| answer(router.clone(), connection.clone(), request))
    };
    let mut http = http1::Builder::new();
    // The sweeper has deadlines for headers and for idle connections, without a timer for each.
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
) -> Result<Response<Watched<Body>>, Infallible> {
    if !connection.begin_request() {
        // Closed to make room, at this moment: nothing of the request is executed.
        std::future::pending::<()>().await;
    }
    let received = connection.clone();
    let request = request.map(|body| Body::new(Watched::new(body, received, Connection::received)));
    let response = router.call(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        connection.upgrade();
    }
    Ok(response.map(|body| Watched::new(body, connection, Connection::answered)))
}
