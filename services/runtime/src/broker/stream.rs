//! Connects lapin through the guard: an async-rs runtime that differs from tokio's only in the type of
//! its connections.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{
    Runtime, Tokio,
    traits::{Executor, Reactor, RuntimeKit},
    util::Task,
};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::{FutureExt as _, Stream};
use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties,
    tcp::{AMQPUriTcpExt as _, OwnedTLSConfig},
    uri::AMQPUri,
};
use tokio::time::{Sleep, sleep};

use super::{guard::Guard, window::Window};

/// How often a heartbeat is inserted while a delivery waits. It has to be less than half of the
/// connection's heartbeat, or lapin closes the connection.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);

/// A TCP connection, plain or with TLS. The guard reads the decrypted bytes.
type Inner = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Opens a connection with a guard between the socket and lapin.
pub(super) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    max_body_bytes: u64,
    window: Option<Arc<Window>>,
) -> lapin::Result<Connection> {
    let open = async move |uri: AMQPUri, _: Runtime<Guarding>| {
        let runtime = Runtime::tokio_current();
        let tls = OwnedTLSConfig::default();
        let inner = uri.connect_with_config_async(tls.as_ref(), &runtime);
        let inner = inner.await.map_err(lapin::Error::from)?;
        let frame_max = uri.query.frame_max.unwrap_or_default();
        Ok(AsyncTcpStream::Plain(Guarded {
            inner,
            guard: Guard::new(frame_max, max_body_bytes, window.clone()),
            next_heartbeat: Box::pin(sleep(HEARTBEAT_PERIOD)),
        }))
    };
    let runtime = Runtime::new(Guarding(Tokio::current()));
    Connection::connector(uri, runtime, open, properties).await
}

/// A connection whose incoming bytes pass a guard.
pub(super) struct Guarded {
    inner: Inner,
    guard: Guard,
    next_heartbeat: Pin<Box<Sleep>>,
}

impl Guarded {
    /// Waits until there is room for the next delivery, or until the next heartbeat is due.
    fn poll_room(&mut self, window: &Window, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        window.wake_when_there_is_room(cx.waker());
        if window.is_full() {
            ready!(self.next_heartbeat.poll_unpin(cx));
            self.next_heartbeat
                .as_mut()
                .reset(tokio::time::Instant::now() + HEARTBEAT_PERIOD);
            self.guard.add_heartbeat();
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.guard.resume().map_err(io::Error::other))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let given = this.guard.give(buf);
            if given > 0 || buf.is_empty() {
                return Poll::Ready(Ok(given));
            }
            if let Some(window) = this.guard.waits_for() {
                ready!(this.poll_room(&window, cx))?;
                continue;
            }
            let spare = this.guard.spare();
            match ready!(Pin::new(&mut this.inner).poll_read(cx, spare))? {
                0 => return Poll::Ready(Ok(0)),
                bytes => this.guard.filled(bytes).map_err(io::Error::other)?,
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(cx)
    }
}

/// The runtime for lapin: tokio's, but with guarded connections.
#[derive(Debug, Clone)]
pub(super) struct Guarding(Tokio);

impl RuntimeKit for Guarding {}

impl Executor for Guarding {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Guarding {
    type TcpStream = Guarded;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    /// Never called: `connect` gives lapin a function that opens the connection.
    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
