//! Raw HTTP connections that are slow or silent, one or many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use crate::api::SPACE;

const BYTE_PAUSE: Duration = Duration::from_millis(300);
/// The pause between two connections. Opening all at the same time would overflow the server's
/// backlog: the kernel then drops a connection that its client takes for open and that the server
/// never accepts.
const CONNECT_PAUSE: Duration = Duration::from_millis(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// How each connection of a crowd behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Sent at once.
    pub beginning: String,
    /// Then these bytes are sent one by one, again and again. Without bytes the connection is
    /// silent.
    pub bytes: &'static [u8],
    /// Whether it reconnects when the server closes it.
    pub again: bool,
}

/// Many connections. They close when this is dropped.
#[derive(Debug)]
pub struct Crowd {
    counts: Arc<Counts>,
    _connections: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    closed_by_server: AtomicUsize,
}

impl Crowd {
    /// Opens `count` connections. `behaviour` returns how each of them behaves.
    #[must_use]
    pub fn connect(url: &str, count: usize, behaviour: impl Fn(usize) -> Behaviour) -> Self {
        let counts = Arc::new(Counts::default());
        let mut connections = JoinSet::new();
        let mut pause = Duration::ZERO;
        for number in 0..count {
            let stay = stay(address(url), behaviour(number), counts.clone());
            connections.spawn(async move {
                sleep(pause).await;
                stay.await;
            });
            pause += CONNECT_PAUSE;
        }
        Self {
            counts,
            _connections: connections,
        }
    }

    /// The number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// The number of connections that the server has closed so far.
    #[must_use]
    pub fn closed_by_server(&self) -> usize {
        self.counts.closed_by_server.load(Ordering::Relaxed)
    }
}

/// The host and port of a URL without a path.
#[must_use]
pub fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

/// The head of a POST request to `/graphql`.
#[must_use]
pub fn post_head(token: &str, length: usize) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json\r\nspace_guid: {SPACE}\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

async fn stay(address: String, behaviour: Behaviour, counts: Arc<Counts>) {
    loop {
        if let Ok(stream) = TcpStream::connect(&address).await {
            counts.open.fetch_add(1, Ordering::Relaxed);
            talk(stream, &behaviour).await;
            counts.open.fetch_sub(1, Ordering::Relaxed);
            counts.closed_by_server.fetch_add(1, Ordering::Relaxed);
        }
        if !behaviour.again {
            return;
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Runs until the server closes the connection.
async fn talk(mut stream: TcpStream, behaviour: &Behaviour) {
    if stream
        .write_all(behaviour.beginning.as_bytes())
        .await
        .is_err()
    {
        return;
    }
    let mut bytes = behaviour.bytes.iter().cycle();
    let mut heard = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut heard) => {
                if matches!(read, Ok(0) | Err(_)) {
                    return;
                }
            }
            () = sleep(BYTE_PAUSE) => {
                if let Some(byte) = bytes.next()
                    && stream.write_all(&[*byte]).await.is_err()
                {
                    return;
                }
            }
        }
    }
}
