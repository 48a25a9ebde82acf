//! Limits on connections: their number, their time, and no effect on other clients.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use nix::sys::signal::Signal;
use tests::{
    api::{Api, SECRET, SPACE, sample},
    eventually,
    stack::{Process, Stack},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
/// The time within which a client that is not over a limit must get an answer.
const SOON: Duration = Duration::from_secs(2);

fn address(gateway: &Process) -> anyhow::Result<SocketAddr> {
    Ok(gateway.url.replace("http://", "").parse()?)
}

async fn connect(gateway: &Process) -> anyhow::Result<TcpStream> {
    Ok(TcpStream::connect(address(gateway)?).await?)
}

/// Connects from another address of the loopback network.
async fn connect_from(gateway: &Process, source: &str) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(source.parse()?)?;
    Ok(socket.connect(address(gateway)?).await?)
}

/// A request on a keep-alive connection.
async fn ask(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream
        .write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"live\n") {
        let mut part = [0; 512];
        let length = timeout(PATIENCE, stream.read(&mut part)).await??;
        ensure!(length > 0, "closed before the answer");
        answer.extend_from_slice(&part[..length]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    Ok(())
}

/// A connection that was used once.
async fn used(gateway: &Process) -> anyhow::Result<TcpStream> {
    let mut stream = connect(gateway).await?;
    ask(&mut stream).await?;
    Ok(stream)
}

/// Whether the gateway has closed a connection, or does within a time.
async fn closes_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut byte = [0];
    match timeout(time, stream.read(&mut byte)).await {
        Ok(Ok(length)) => length == 0,
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

async fn open(gateway: &Process) -> anyhow::Result<f64> {
    gateway
        .metric("connector_details_connections{service=\"gateway\"}")
        .await
}

/// Sends a request byte by byte, and starts again whenever the connection is closed.
async fn dribble(address: SocketAddr, head: String) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            for byte in head.bytes().chain(std::iter::repeat(b'x')) {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
        sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_connections_do_not_block_other_clients() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let limit = 1_024;
    let gateway = stack.ready_gateway(&[("MAX_CONNECTIONS", "1024")]).await?;
    let address = address(&gateway)?;
    let stop = CancellationToken::new();
    for _ in 0..1_100 {
        let head = "POST /graphql HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_owned();
        let attack = stop
            .clone()
            .run_until_cancelled_owned(dribble(address, head));
        tokio::spawn(attack);
    }
    eventually("all places to be taken", async || {
        let made =
            "connector_details_connections_closed_total{service=\"gateway\",reason=\"made room\"}";
        Ok((gateway.metric(made).await? >= 50.0).then_some(()))
    })
    .await?;

    for number in 0..8 {
        let started = Instant::now();
        // A new connection each time.
        let answer = Api::new(&gateway.url, SPACE)?.save(&sample()).await?;
        answer.record()?;
        assert!(
            started.elapsed() < SOON,
            "{number}: {:?}",
            started.elapsed()
        );
        let (status, _) = gateway.health().await?;
        assert_eq!(status, 200);
        assert!(open(&gateway).await? <= f64::from(limit));
    }
    stop.cancel();
    eventually("the slow ones to be gone", async || {
        Ok((open(&gateway).await? <= 1.0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn late_headers_and_idle_connections_are_closed_and_requests_in_work_are_not()
-> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack
        .ready_gateway(&[("HEADER_TIMEOUT", "3s"), ("IDLE_TIMEOUT", "6s")])
        .await?;
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = Api::new(&gateway.url, SPACE)?;
    let saving = tokio::spawn(async move { api.save(&sample()).await });

    let mut silent = connect(&gateway).await?;
    let mut late = connect(&gateway).await?;
    late.write_all(b"GET /health/live HTTP/1.1\r\nhost:")
        .await?;
    let mut idle = used(&gateway).await?;
    let mut late_again = used(&gateway).await?;
    late_again.write_all(b"G").await?;

    for late in [&mut silent, &mut late, &mut late_again] {
        assert!(closes_within(late, PATIENCE).await);
    }
    assert!(
        !closes_within(&mut idle, Duration::from_millis(10)).await,
        "an idle connection has more time than headers"
    );
    ask(&mut idle).await?;
    assert!(closes_within(&mut idle, PATIENCE).await);
    let answer = saving.await??;
    stack.workers[0].signal(Signal::SIGCONT)?;
    assert_eq!(
        answer.code(),
        "SAVE_PENDING",
        "it was waited for all the time"
    );
    for (reason, count) in [("slow", 3.0), ("idle", 1.0)] {
        let line = format!(
            "connector_details_connections_closed_total{{service=\"gateway\",reason=\"{reason}\"}}"
        );
        assert!(gateway.metric(&line).await? >= count, "{reason}");
    }
    Ok(())
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_connection_is_closed() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack
        .ready_gateway(&[("MAX_CONNECTIONS", "4"), ("MAX_SUBSCRIPTIONS", "1")])
        .await?;
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = Api::new(&gateway.url, SPACE)?;
    let saving = tokio::spawn(async move { api.save(&sample()).await });
    eventually("the save to be in work", async || {
        let waiting = "connector_details_waiting_requests{service=\"gateway\"}";
        Ok((gateway.metric(waiting).await? >= 1.0).then_some(()))
    })
    .await?;

    let mut first = used(&gateway).await?;
    let mut second = used(&gateway).await?;
    let mut third = used(&gateway).await?;
    // Now the second has been without a request for the longest time.
    sleep(Duration::from_millis(10)).await;
    ask(&mut first).await?;
    let mut fourth = used(&gateway).await?;

    assert!(closes_within(&mut second, PATIENCE).await);
    for stream in [&mut first, &mut third, &mut fourth] {
        ask(stream).await?;
    }
    stack.workers[0].signal(Signal::SIGCONT)?;
    saving.await??.record()?;
    Ok(())
}

#[tokio::test]
async fn an_address_cannot_exceed_its_connection_limit() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack
        .ready_gateway(&[("MAX_CONNECTIONS_PER_ADDRESS", "2")])
        .await?;
    let mut others = connect_from(&gateway, "127.0.0.2:0").await?;
    ask(&mut others).await?;

    let mut mine = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(&gateway, "127.0.0.3:0").await?;
        ask(&mut stream).await?;
        mine.push(stream);
        sleep(Duration::from_millis(10)).await;
    }

    assert!(closes_within(&mut mine[0], PATIENCE).await);
    for stream in [&mut others].into_iter().chain(&mut mine[1..]) {
        ask(stream).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_stopping_gateway_finishes_requests_in_progress_and_closes_idle_connections()
-> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let mut idle = used(&gateway).await?;
    let silent = connect(&gateway).await?;
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = Api::new(&gateway.url, SPACE)?;
    let saving = tokio::spawn(async move { api.save(&sample()).await });
    eventually("the save to be in work", async || {
        let waiting = "connector_details_waiting_requests{service=\"gateway\"}";
        Ok((gateway.metric(waiting).await? >= 1.0).then_some(()))
    })
    .await?;

    let (address, started) = (address(&gateway)?, Instant::now());
    gateway.signal(Signal::SIGTERM)?;
    assert!(closes_within(&mut idle, PATIENCE).await);
    eventually("new connections to be refused", async || {
        Ok(TcpStream::connect(address).await.err())
    })
    .await?;
    stack.workers[0].signal(Signal::SIGCONT)?;

    saving.await??.record()?;
    assert!(gateway.stop().await?);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    drop(silent);
    Ok(())
}

/// A text frame of a client: masked, with zeros.
fn frame(text: &str) -> anyhow::Result<Vec<u8>> {
    let length = u8::try_from(text.len())?;
    ensure!(length < 126, "{text}");
    Ok([&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat())
}

/// Reads until a text arrives.
async fn until_told(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(text) {
        let mut part = [0; 512];
        let length = timeout(PATIENCE, stream.read(&mut part)).await??;
        ensure!(length > 0, "closed before {text}");
        received.extend_from_slice(&part[..length]);
    }
    Ok(())
}

#[tokio::test]
async fn an_open_websocket_is_neither_idle_nor_replaced() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack
        .ready_gateway(&[
            ("MAX_CONNECTIONS", "2"),
            ("MAX_SUBSCRIPTIONS", "1"),
            ("IDLE_TIMEOUT", "1s"),
        ])
        .await?;
    let token = gateway::auth::dev_token::sign(SECRET, SPACE, "a page", Duration::from_mins(5))?;
    let mut socket = connect(&gateway).await?;
    let upgrade = format!(
        "GET /graphql/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: graphql-transport-ws\r\n\
         space_guid: {SPACE}\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await?;
    until_told(&mut socket, "101 Switching Protocols").await?;
    socket
        .write_all(&frame(r#"{"type":"connection_init"}"#)?)
        .await?;
    until_told(&mut socket, "connection_ack").await?;

    let mut idle = used(&gateway).await?;
    let mut newcomer = used(&gateway).await?;
    assert!(closes_within(&mut idle, PATIENCE).await, "it made room");
    assert!(closes_within(&mut newcomer, PATIENCE).await, "it was idle");

    socket.write_all(&frame(r#"{"type":"ping"}"#)?).await?;
    until_told(&mut socket, "pong").await?;
    assert!((open(&gateway).await? - 1.0).abs() < 0.5, "itself alone");
    drop(socket);
    eventually("its place to be free", async || {
        Ok((open(&gateway).await? < 1.0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_client_that_does_not_read_responses_is_disconnected() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[("IDLE_TIMEOUT", "1s")]).await?;
    let mut stream = connect(&gateway).await?;
    // More than the buffers of both sides hold.
    let request = b"GET /console/editor.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for _ in 0..2_000 {
        timeout(PATIENCE, stream.write_all(request)).await??;
    }

    eventually("the client to be given up", async || {
        let line =
            "connector_details_connections_closed_total{service=\"gateway\",reason=\"stalled\"}";
        Ok((gateway.metric(line).await? >= 1.0).then_some(()))
    })
    .await?;
    assert!(open(&gateway).await? < 1.0);
    drop(stream);
    Ok(())
}

#[tokio::test]
async fn headers_are_bounded_in_bytes_and_in_number() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let long = |bytes: usize| format!("x-long: {}\r\n", "x".repeat(bytes));
    let many = |count: usize| "x: y\r\n".repeat(count);

    for (headers, expected) in [
        (long(30_000), "HTTP/1.1 200"),
        (long(40_000), "HTTP/1.1 431"),
        (many(90), "HTTP/1.1 200"),
        (many(200), "HTTP/1.1 431"),
    ] {
        let mut stream = connect(&gateway).await?;
        let request = format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        // The gateway may have heard enough before it heard all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut status = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut status)).await??;
        assert_eq!(
            String::from_utf8_lossy(&status),
            expected,
            "{} bytes",
            headers.len()
        );
    }
    Ok(())
}
