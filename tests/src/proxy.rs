//! A TCP proxy that can cut, delay or drop traffic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// How the proxy treats traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Pass,
    /// Passes everything on, each piece this much later.
    Delay(Duration),
    /// Ends all connections, and lets no new one through.
    Cut,
    /// Loses what clients send. A connection that lost something stays lost.
    LoseRequests,
    /// Loses what the server sends.
    LoseAnswers,
    /// Passes on everything but the acknowledgements of an AMQP consumer.
    LoseAcknowledgements,
}

/// A way to a server.
#[derive(Debug)]
pub struct Proxy {
    mode: watch::Sender<Mode>,
    effects: Effects,
}

/// How often the mode had an effect.
#[derive(Debug, Clone, Default)]
struct Effects(Arc<AtomicUsize>);

impl Effects {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// A proxy before the server of a URL, and the URL through it.
    ///
    /// # Errors
    /// There is no port to listen on, or none in the URL.
    pub async fn before(url: &str) -> anyhow::Result<(Self, String)> {
        let mut url = reqwest::Url::parse(url)?;
        let server = url.port().context("no port")?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (mode, watched) = watch::channel(Mode::Pass);
        let effects = Effects::default();
        let counted = effects.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *watched.borrow() == Mode::Cut {
                    counted.count();
                } else {
                    tokio::spawn(serve(client, server, watched.clone(), counted.clone()));
                }
            }
        });
        url.set_port(Some(port)).ok().context("no port")?;
        Ok((Self { mode, effects }, url.into()))
    }

    /// How often traffic was delayed or dropped, or a connection was cut or refused.
    /// [`Mode::LoseAcknowledgements`] is not counted.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.effects.0.load(Ordering::Relaxed)
    }

    /// Changes what the proxy does, also with the connections that it has already.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(client: TcpStream, server: u16, mut mode: watch::Receiver<Mode>, effects: Effects) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let requests = carry(
        client_reads,
        server_writes,
        Mode::LoseRequests,
        mode.clone(),
        &effects,
    );
    let answers = carry(
        server_reads,
        client_writes,
        Mode::LoseAnswers,
        mode.clone(),
        &effects,
    );
    tokio::select! {
        () = requests => {}
        () = answers => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => effects.count(),
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    loses: Mode,
    mode: watch::Receiver<Mode>,
    effects: &Effects,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut frames = Frames::default();
    let mut lost = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let now = *mode.borrow();
        // Bytes that arrive while the connection is being cut must not pass.
        let loses_now = now == loses || now == Mode::Cut;
        lost |= loses_now;
        if loses_now || matches!(now, Mode::Delay(_)) {
            effects.count();
        }
        if let Mode::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        let passed = frames.pass(&buffer[..length], now == Mode::LoseAcknowledgements);
        if !lost && to.write_all(&passed).await.is_err() {
            return;
        }
    }
}

/// Splits the bytes of an AMQP client into frames. Other bytes pass unchanged.
#[derive(Default)]
struct Frames {
    greeted: bool,
    waiting: Vec<u8>,
}

/// The protocol header of an AMQP client.
const GREETING: &[u8] = b"AMQP\0\0\x09\x01";
/// A method frame has type 1. Its header has seven bytes, and class 60 and method 80 follow.
const METHOD: u8 = 1;
const ACKNOWLEDGEMENT: &[u8] = &[0, 60, 0, 80];

impl Frames {
    fn pass(&mut self, bytes: &[u8], lose_acknowledgements: bool) -> Vec<u8> {
        if !self.greeted {
            self.greeted = bytes == GREETING;
            return bytes.to_owned();
        }
        self.waiting.extend_from_slice(bytes);
        let mut passed = Vec::new();
        while let Some(size) = self.waiting.get(3..7) {
            let size = size
                .iter()
                .fold(0, |size, byte| size << 8 | usize::from(*byte));
            // The frame has a header before and one byte after the payload.
            let Some(frame) = self.waiting.get(..size + 8) else {
                break;
            };
            let is_acknowledgement = frame[0] == METHOD && frame[7..].starts_with(ACKNOWLEDGEMENT);
            if !(lose_acknowledgements && is_acknowledgement) {
                passed.extend_from_slice(frame);
            }
            self.waiting.drain(..size + 8);
        }
        passed
    }
}
