//! The broker, before anything of ours runs on it: everything declared, and what an older version left
//! behind made way.

use anyhow::{Context as _, ensure};
use lapin::{Connection, options::QueueDeleteOptions, uri::AMQPUri};
use proto::amqp::topology::{self, TopologyError};
use runtime::{broker, queue_depth};

/// More than there are queues.
const ATTEMPTS: usize = 10;

/// Declares exchanges and queues. A queue that an older version declared with other arguments is
/// replaced if it is empty. Nothing of ours may run meanwhile.
///
/// # Errors
/// The broker does not answer, or such a queue is not empty.
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

async fn replace(connection: &Connection, error: &TopologyError) -> anyhow::Result<()> {
    let queue = error.object;
    // The refusal has closed the other.
    let channel = connection.create_channel().await?;
    let depth = queue_depth::depth(&channel, queue).await;
    let depth = depth.with_context(|| format!("{queue} is not as this version declares it"))?;
    ensure!(
        depth.messages == 0,
        "an older version declared {queue} otherwise, and {} messages are in it: run that version \
         until it is empty, or remove .dev/ with all data",
        depth.messages
    );
    channel
        .queue_delete(queue.into(), QueueDeleteOptions::default())
        .await?;
    eprintln!("replaced {queue}, which was empty and of an older version");
    Ok(())
}
