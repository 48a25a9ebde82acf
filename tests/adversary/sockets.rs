//! WebSockets without a token.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::join_all;
use tests::{
    bystander::Attack,
    eventually,
    processes::Memory,
    websocket::{Received, Socket, text_head},
};
use tokio::time::timeout;

const FRAME_BYTES: u64 = 16 * 1024 * 1024;
static CHUNK: [u8; 64 * 1024] = [b' '; 64 * 1024];
/// For a client that is as fast as the loopback address; one that is refused is done at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a whole frame of 16 MiB, but for its last bytes, as far as the gateway takes it.
async fn send_large_frame(url: &str) -> anyhow::Result<()> {
    let mut socket = Socket::open(url).await?;
    socket.send(&text_head(FRAME_BYTES)).await?;
    let sent = async {
        for _ in 1..FRAME_BYTES / CHUNK.len() as u64 {
            if socket.send(&CHUNK).await.is_err() {
                return;
            }
        }
        let _ = socket.hear().await;
    };
    let _ = timeout(PATIENCE, sent).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_frame_is_refused_before_it_is_buffered() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.gateway()?)?;
    let url = &attack.gateway()?.url;

    let sent = join_all((0..40).map(|_| send_large_frame(url))).await;

    ensure!(
        sent.iter().any(Result::is_ok),
        "no socket was open: {sent:?}"
    );
    let grew = memory.grew_mib()?;
    ensure!(grew < 64, "{grew} MiB more");
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_without_connection_init_is_closed() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let memory = Memory::of(attack.gateway()?)?;
    let url = &attack.gateway()?.url;
    let started = Instant::now();

    let sockets = join_all((0..200).map(|_| Socket::open(url))).await;
    let open: Vec<Socket> = sockets.into_iter().flatten().collect();
    ensure!(!open.is_empty(), "no socket was open");
    let grew = memory.grew_mib()?;
    ensure!(grew < 16, "{grew} MiB for {} idle sockets", open.len());
    let ends = join_all(open.into_iter().map(async |mut socket| socket.hear().await)).await;

    for end in ends {
        ensure!(matches!(end?, Received::Closed(_)), "something was said");
    }
    ensure!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_sockets_is_limited() -> anyhow::Result<()> {
    let attack = Attack::with(&[("MAX_SOCKETS", "10")]).await?;
    let url = &attack.gateway()?.url;

    let introduced = (0..30).map(async |number: usize| {
        // Each socket has another subject, because this is not about the limit of one subject.
        Socket::introduced(url, &format!("subject {number}")).await
    });
    let open: Vec<Socket> = join_all(introduced).await.into_iter().flatten().collect();
    ensure!(open.len() == 10, "{} sockets are open", open.len());
    drop(open);

    eventually("a place to be free again", async || {
        Ok(Socket::introduced(url, "late").await.ok())
    })
    .await?;
    attack.others_were_unaffected().await
}
