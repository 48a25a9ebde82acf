//! Connections of a client that is slow, silent or one of very many.

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
/// Between one connection and the next. All at once would overflow the server's backlog: the kernel then
/// drops a connection that its client takes for open, and that the server never sees.
const CONNECT_PAUSE: Duration = Duration::from_millis(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// What each connection of a crowd does.
#[derive(Debug, Clone)]
pub struct Habit {
    /// Sent at once.
    pub beginning: String,
    /// Then one byte of these after the other, over and over; none: the connection is silent.
    pub bytes: &'static [u8],
    /// Whether it connects again when the server has closed it.
    pub again: bool,
}

/// Many connections with the same habit. They close when it is dropped.
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
    /// Connects so many times; `habit` tells what each of them does.
    #[must_use]
    pub fn gather(url: &str, count: usize, habit: impl Fn(usize) -> Habit) -> Self {
        let counts = Arc::new(Counts::default());
        let mut connections = JoinSet::new();
        let mut pause = Duration::ZERO;
        for number in 0..count {
            let stay = stay(address(url), habit(number), counts.clone());
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

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    /// How often the server closed one so far.
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

/// The head of a POST to `/graphql` by somebody with a token.
#[must_use]
pub fn post_head(token: &str, length: usize) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json\r\nspace_guid: {SPACE}\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

async fn stay(address: String, habit: Habit, counts: Arc<Counts>) {
    loop {
        if let Ok(stream) = TcpStream::connect(&address).await {
            counts.open.fetch_add(1, Ordering::Relaxed);
            talk(stream, &habit).await;
            counts.open.fetch_sub(1, Ordering::Relaxed);
            counts.closed_by_server.fetch_add(1, Ordering::Relaxed);
        }
        if !habit.again {
            return;
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Until the server closes the connection.
async fn talk(mut stream: TcpStream, habit: &Habit) {
    if stream.write_all(habit.beginning.as_bytes()).await.is_err() {
        return;
    }
    let mut bytes = habit.bytes.iter().cycle();
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
