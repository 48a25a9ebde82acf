//! Opens connections to the broker, with a deadline for each step.
//!
//! lapin's own recovery stays off. The owner of a connection drops it at the first error, with its
//! channels and consumers, and opens all of them again. Then the owner knows that the outcome of every
//! unconfirmed message is unknown.

pub mod guard;
pub mod header;
mod names;
pub mod publish;
mod stream;
pub mod window;

use std::{future::Future, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt as _;
use lapin::{Connection, ConnectionProperties, Event, uri::AMQPUri};

use self::{guard::MAX_BODY_BYTES, window::Window};

/// How long a single step may take, including opening and closing a connection. A broker that is
/// suspended, or that has a resource alarm, may never answer.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// After a session that lasted longer than this, the pauses between attempts start again at the shortest.
/// After a shorter session they keep growing: the broker accepts connections and closes them, and
/// quick retries would only add load.
pub const GOOD_SESSION: Duration = Duration::from_secs(30);

/// The longest pause of [`backoff`], without its random part.
pub const MAX_PAUSE: Duration = Duration::from_secs(5);
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Seconds. The other side notices a lost peer after two to three times as long, even if the network
/// drops packets in only one direction.
const HEARTBEAT: u16 = 5;
/// Bytes. lapin keeps two buffers of 32 frames for each connection. With the broker's 128 KiB these
/// are 8 MiB, more than everything else in an idle service. A larger body takes several frames.
const SMALL_FRAMES: u32 = 16 * 1024;
/// Bytes: RabbitMQ's default. All properties of a message have to fit into one frame, so a consumer with
/// smaller frames could not read every message.
const LARGE_FRAMES: u32 = 128 * 1024;
/// AMQP's reply code for a close without an error.
const REPLY_SUCCESS: u16 = 200;

/// A step with the broker that failed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker refused the step, or the connection failed.
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    /// No answer within [`DEADLINE`].
    #[error("the broker did not answer in time")]
    Deadline,
}

/// Waits for a step with the broker, at most for [`DEADLINE`].
///
/// # Errors
/// The step's own error, or [`BrokerError::Deadline`].
pub async fn within_deadline<T>(
    step: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    tokio::time::timeout(DEADLINE, step)
        .await
        .map_err(|_| BrokerError::Deadline)?
        .map_err(BrokerError::Amqp)
}

/// Opens a connection that the broker lists under `name`. Its frames are small, which suits publishers and
/// consumers of small messages.
///
/// # Errors
/// The broker refuses the connection, can't be reached, or gives no answer in time. The error does not
/// show the URI.
pub async fn connect(uri: &AMQPUri, name: &str) -> Result<Connection, BrokerError> {
    open(uri, name, SMALL_FRAMES, MAX_BODY_BYTES, None).await
}

/// Opens a connection for a consumer of messages that other services publish.
///
/// A body larger than `max_body_bytes` arrives empty, with the header
/// [`UNREADABLE_BODY`](guard::UNREADABLE_BODY). With a `window`, the consumer has to call
/// [`Window::hold`] for each message, and keep the result until it is done with the message.
///
/// # Errors
/// As [`connect`].
pub async fn connect_to_consume(
    uri: &AMQPUri,
    name: &str,
    max_body_bytes: u64,
    window: Option<Arc<Window>>,
) -> Result<Connection, BrokerError> {
    open(uri, name, LARGE_FRAMES, max_body_bytes, window).await
}

async fn open(
    uri: &AMQPUri,
    name: &str,
    frame_max: u32,
    max_body_bytes: u64,
    window: Option<Arc<Window>>,
) -> Result<Connection, BrokerError> {
    let mut uri = uri.clone();
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri.query.frame_max.get_or_insert(frame_max);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    within_deadline(stream::connect(uri, properties, max_body_bytes, window)).await
}

/// Waits until the connection is lost, and returns the reason.
pub async fn lost(connection: &Connection) -> String {
    let mut events = Box::pin(connection.events_listener());
    while connection.status().connected() {
        match events.next().await {
            Some(Event::Error(error)) => return error.to_string(),
            Some(_) => {}
            None => break,
        }
    }
    "the connection was closed".to_owned()
}

/// Closes a connection with AMQP's closing handshake, or gives up after [`DEADLINE`].
pub async fn close(connection: &Connection) {
    // An error changes nothing: dropping the connection closes the socket.
    let _ = within_deadline(connection.close(REPLY_SUCCESS, "bye".into())).await;
}

/// The pauses between attempts to reach the broker or the database, without an end: 100 ms, doubling to
/// [`MAX_PAUSE`]. Each has a random part of up to its own length, so that many clients don't come back at
/// the same moment.
pub fn backoff() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
