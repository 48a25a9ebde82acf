//! Opens a connection to the broker the way both services do, and tells when it is gone.
//!
//! lapin's own recovery stays off: whoever owns a connection drops it at the first error, with
//! its channels and consumers, and builds all of them again. What was in flight is then known to
//! be unknown.

pub mod guard;
pub mod header;
mod names;
mod stream;
pub mod window;

use std::{future::Future, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{Connection, ConnectionProperties, Event, uri::AMQPUri};

use self::{guard::MAX_BODY_BYTES, window::Window};

/// How long any single step with the broker may take, opening and closing included. A broker that
/// raised an alarm, or was stopped, answers never.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// A session that lasted this long was a good one: the attempts to build the next begin anew with
/// short pauses. A shorter one was let in and thrown out, and the broker is not to be hammered.
pub const GOOD_SESSION: Duration = Duration::from_secs(30);

/// Seconds. A peer that is gone without a word, in one direction or both, is noticed by the other
/// after two to three times as long.
const HEARTBEAT: u16 = 5;
/// Bytes. lapin keeps, and goes round in, two buffers of 32 frames for each connection: at the
/// broker's 128 KiB that is 8 MiB, more than all the rest of an idle service. A larger body simply
/// takes several frames.
const SMALL_FRAMES: u32 = 16 * 1024;
/// Bytes: as large as RabbitMQ's own. A message has all of its properties in one frame, and whatever
/// is larger than a consumer's frames is refused unread.
const LARGE_FRAMES: u32 = 128 * 1024;
const NORMAL_CLOSE: u16 = 200;

/// A step with the broker that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker or the connection refused it.
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    /// No answer within [`DEADLINE`].
    #[error("the broker did not answer in time")]
    Deadline,
}

/// Waits for a step with the broker, but not forever.
///
/// # Errors
/// What the step failed with, or [`BrokerError::Deadline`].
pub async fn within_deadline<T>(
    step: impl Future<Output = lapin::Result<T>>,
) -> Result<T, BrokerError> {
    tokio::time::timeout(DEADLINE, step)
        .await
        .map_err(|_| BrokerError::Deadline)?
        .map_err(BrokerError::Amqp)
}

/// Begins to publish. lapin takes a message over when the publishing is polled first; so messages go
/// out in the order in which they were begun, and what comes of them can be waited for later. To wait
/// for each before the next is two hand-overs between threads for every message.
pub fn begin<F: Future>(publishing: F) -> impl Future<Output = F::Output> {
    let mut publishing = Box::pin(publishing);
    let done = publishing.as_mut().now_or_never();
    async move {
        match done {
            Some(done) => done,
            None => publishing.await,
        }
    }
}

/// Opens a connection that the broker's operator finds under `name`. For those who publish, or
/// consume little: its frames are small.
///
/// # Errors
/// Refused, unreachable, or no answer in time. The error does not show the URI.
pub async fn connect(uri: &AMQPUri, name: &str) -> Result<Connection, BrokerError> {
    open(uri, name, SMALL_FRAMES, MAX_BODY_BYTES, None).await
}

/// Opens a connection for those who consume what anybody may publish. Bodies larger than
/// `max_body_bytes` are left out. Where there is a window, whoever consumes has to hold its place in it
/// for each message.
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

/// Ends when the connection does, with what ended it.
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

/// Closes a connection in good order, or gives up after [`DEADLINE`].
pub async fn close(connection: &Connection) {
    // Whatever comes of it, the socket is closed when the connection is dropped.
    let _ = within_deadline(connection.close(NORMAL_CLOSE, "bye".into())).await;
}

/// The pauses between attempts to reach a broker or a database: 100 ms doubling to 5 s, jittered
/// so that many clients do not come back at once, without an end.
pub fn backoff() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .with_jitter()
        .without_max_times()
        .build()
}
