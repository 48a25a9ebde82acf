//! Unit tests of the messages and pings of a socket.

use std::convert::Infallible;

use futures_util::{sink, stream};
use tokio::sync::mpsc;

use super::*;

/// Sends only pings to a client that answers the given number of them. Returns how many pings were
/// sent, and the last message.
async fn send_to_client_that_answers(pings: usize) -> (usize, Option<Message>) {
    let heartbeat = Heartbeat::new(Duration::from_millis(5));
    let (answer, mut answers) = mpsc::unbounded_channel();
    let answers = stream::poll_fn(move |context| answers.poll_recv(context));
    let messages = valid_messages(answers, Arc::default(), heartbeat.received.clone());
    let sent = AtomicUsize::new(0);
    let client = sink::unfold((), |(), message: Message| {
        assert_eq!(message, Message::Ping(Bytes::new()));
        if sent.fetch_add(1, Ordering::Relaxed) < pings {
            assert!(answer.send(Ok(Message::Pong(Bytes::new()))).is_ok());
        }
        ready(Ok::<_, Infallible>(()))
    });
    let mut client = pin!(client);
    let lifetime = Lifetime::without_token(None);
    let (_sender, authenticated) = oneshot::channel();
    let responses = messages.map(Message::Binary);
    let last = send_all(&mut client, responses, lifetime, heartbeat, authenticated).await;
    (sent.load(Ordering::Relaxed), last)
}

#[test]
fn the_reason_of_a_close_does_not_quote_the_message() {
    for invalid in [
        r#"{"type":"hunter2"}"#,
        r#"{"type":"subscribe","id":{"hunter2":1},"payload":{}}"#,
        "hunter2",
    ] {
        let reason = decode(invalid.as_bytes())
            .err()
            .map(|error| error.to_string());
        assert_eq!(reason.as_deref(), Some("The message can't be read."));
    }
    assert!(decode(br#"{"type":"ping"}"#).is_ok());
}

#[tokio::test]
async fn a_client_that_is_silent_for_two_intervals_is_closed() {
    assert_eq!(
        send_to_client_that_answers(0).await,
        (1, Some(unresponsive()))
    );
    // Three pings are answered and the fourth is not. The fifth follows the first silent interval.
    assert_eq!(
        send_to_client_that_answers(3).await,
        (5, Some(unresponsive()))
    );
}
