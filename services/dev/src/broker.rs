//! Prepares the broker before the services start: declares the topology, and replaces the empty queues
//! of an older version. Creates virtual hosts for the tests and for the benchmark.

use anyhow::{Context as _, ensure};
use lapin::{Connection, options::QueueDeleteOptions, uri::AMQPUri};
use proto::amqp::topology::{self, TopologyError};
use runtime::{broker, queue_depth};

/// At most one attempt fails for each queue, and there are fewer queues than this.
const ATTEMPTS: usize = 10;

/// Declares exchanges and queues. A queue that an older version declared with other arguments is
/// replaced if it is empty. No service may run at the same time.
///
/// # Errors
/// The broker can't be reached, or such a queue is not empty.
pub async fn prepare(amqp_url: &str) -> anyhow::Result<()> {
    let uri: AMQPUri = amqp_url.parse().map_err(anyhow::Error::msg)?;
    let connection = broker::connect(&uri, "cargo dev").await?;
    for _ in 0..ATTEMPTS {
        let channel = connection.create_channel().await?;
        match topology::declare(&channel).await {
            Ok(()) => break,
            Err(error) if error.is_mismatch() => replace(&connection, &error).await?,
            Err(error) => return Err(error.into()),
        }
    }
    broker::close(&connection).await;
    Ok(())
}

/// Creates a virtual host. `management_url` holds the name and the password of an administrator.
///
/// # Errors
/// The management API refuses.
pub async fn create_virtual_host(management_url: &str, name: &str) -> anyhow::Result<()> {
    reqwest::Client::new()
        .put(format!("{management_url}/api/vhosts/{name}"))
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await?
        .error_for_status()?;
    Ok(())
}

async fn replace(connection: &Connection, error: &TopologyError) -> anyhow::Result<()> {
    let queue = error.object;
    // The broker closed the other channel when it rejected the declaration.
    let channel = connection.create_channel().await?;
    let depth = queue_depth::depth(&channel, queue).await;
    let depth =
        depth.with_context(|| format!("{queue} has other arguments than this version declares"))?;
    ensure!(
        depth.messages == 0,
        "an older version declared {queue} with other arguments, and it holds {} messages: run that \
         version until the queue is empty, or remove .dev/ with all data",
        depth.messages
    );
    channel
        .queue_delete(queue.into(), QueueDeleteOptions::default())
        .await?;
    eprintln!("replaced the empty queue {queue} of an older version");
    Ok(())
}
