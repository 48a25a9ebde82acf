//! The limits on what WebSockets may cost the gateway.

use std::time::{Duration, Instant};

use dev::process::status_kib;
use serde_json::{Value, json};
use tests::{
    api::{Api, SPACE},
    eventually,
    socket::{Received, Socket},
    sse::CHANGED,
    stack::Stack,
};

use super::costs::token;

#[tokio::test]
async fn a_socket_without_a_token_is_limited_in_memory_and_time() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let before = status_kib(gateway.pid, "VmRSS")?;

    let (mut sockets, spaces) = (Vec::new(), vec![b' '; 64 * 1024]);
    for _ in 0..20 {
        let socket = Socket::connect(&gateway.url).await?;
        let mut socket = socket.map_err(|status| anyhow::anyhow!("{status}"))?;
        socket.announce(15 * 1024 * 1024).await?;
        // The gateway closes it without reading this; writing may fail then.
        for _ in 0..15 * 16 {
            if socket.write(&spaces).await.is_err() {
                break;
            }
        }
        sockets.push(socket);
    }
    let grown = status_kib(gateway.pid, "VmRSS")?.saturating_sub(before);
    drop(sockets);

    let started = Instant::now();
    let silent = Socket::connect(&gateway.url).await?;
    let mut silent = silent.map_err(|status| anyhow::anyhow!("{status}"))?;
    let said = silent.next().await?;
    let took = started.elapsed();

    let refused = Socket::connect(&gateway.url).await?;
    let mut refused = refused.map_err(|status| anyhow::anyhow!("{status}"))?;
    refused.send(&json!({ "type": "connection_init" })).await?;
    let refused = refused.next().await?;

    assert!(
        matches!(refused, Received::Closed(Some(1002))),
        "{refused:?}"
    );
    let log = std::fs::read_to_string(&gateway.log)?;
    assert!(!log.contains("panicked"), "{log}");
    assert!(grown < 20 * 1024, "{grown} KiB more");
    assert!(matches!(said, Received::Closed(Some(4408))), "{said:?}");
    assert!((9..15).contains(&took.as_secs()), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn idle_sockets_are_counted_and_small() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack
        .ready_gateway(&[
            ("MAX_SOCKETS", "500"),
            ("MAX_SUBSCRIPTIONS_PER_BEARER", "400"),
        ])
        .await?;
    let mut known = Vec::new();
    let mut memory = Vec::new();
    // The first hundred also pay for what the gateway keeps only once.
    for sockets in [100, 300] {
        for _ in 0..sockets {
            known.push(Socket::known(&gateway.url, &token("anna")?, SPACE).await?);
        }
        memory.push(status_kib(gateway.pid, "VmRSS")?);
    }
    let annas = Socket::known(&gateway.url, &token("anna")?, SPACE).await;
    let bens = Socket::known(&gateway.url, &token("ben")?, SPACE).await;
    let each = memory[1].saturating_sub(memory[0]) / 300;
    assert!(annas.is_err(), "one bearer has four hundred");
    assert!(bens.is_ok());
    assert!(each < 40, "{each} KiB for a socket");
    eprintln!("{each} KiB for a socket");

    let mut strangers = Vec::new();
    let refused = loop {
        match Socket::connect(&gateway.url).await? {
            Ok(socket) => strangers.push(socket),
            Err(status) => break status,
        }
        anyhow::ensure!(strangers.len() <= 128, "there is no end of them");
    };
    assert_eq!(refused, 503);
    let answer = tests::websocket::Socket::open(&gateway.url).await.err();
    let answer = answer.map(|answer| answer.to_string()).unwrap_or_default();
    assert!(answer.contains("\r\nx-request-id: "), "{answer}");
    // Those who have shown a token are not among them.
    let answer = known[0].execute("1", "{ __typename }").await?;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_REQUEST");
    drop(strangers);
    eventually("the places of strangers to be free again", async || {
        Ok(Socket::connect(&gateway.url).await?.ok())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn operations_of_a_socket_are_refused_as_requests_are() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack
        .ready_gateway(&[("READS_PER_SECOND", "1"), ("READS_BURST", "2")])
        .await?;
    let mut socket = Socket::known(&gateway.url, &token("a page")?, SPACE).await?;
    let api = Api::for_subject(&gateway.url, SPACE, "another page")?;

    let unparsed = socket.execute("1", "subscription {").await?;
    let unknown = socket.execute("2", "subscription { secret }").await?;
    let started = Instant::now();
    let limited = socket.execute("3", CHANGED).await?;
    let took = started.elapsed();
    let same = [
        api.execute("subscription {", json!({})).await?.body,
        api.execute("query { secret }", json!({})).await?.body,
        api.execute("{ __typename }", json!({})).await?.body,
    ];

    let mut ids = Vec::new();
    for (answer, same) in [&unparsed, &unknown, &limited].into_iter().zip(&same) {
        let (error, same) = (&answer["errors"][0], &same["errors"][0]);
        let said = |error: &Value| {
            error["message"]
                .to_string()
                .replace("Subscriptions", "Query")
        };
        assert_eq!(said(error), said(same));
        let names = |error: &Value| -> Vec<String> {
            let extensions = error["extensions"].as_object();
            extensions
                .map(|it| it.keys().cloned().collect())
                .unwrap_or_default()
        };
        assert_eq!(names(error), names(same));
        ids.push(error["extensions"]["requestId"].to_string());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "each operation has an id of its own");
    assert_eq!(limited["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    assert!(took >= Duration::from_millis(250), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn a_socket_with_too_many_operations_is_closed() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack.ready_gateway(&[]).await?;
    let mut socket = Socket::known(&gateway.url, &token("a page")?, SPACE).await?;

    for n in 0..150 {
        let subscribe = json!({
            "type": "subscribe", "id": n.to_string(), "payload": { "query": CHANGED },
        });
        if socket.send(&subscribe).await.is_err() {
            break;
        }
    }
    let closed = async {
        loop {
            if matches!(socket.next().await, Ok(Received::Closed(_)) | Err(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await?;
    eventually("its subscriptions to end", async || {
        let metrics = gateway.metrics().await?;
        let open = metrics
            .lines()
            .find(|line| line.starts_with("connector_details_subscriptions{"));
        Ok(open.filter(|line| line.ends_with(" 0")).map(drop))
    })
    .await?;
    Ok(())
}
