//! Subscriptions over WebSocket (`graphql-transport-ws`) at `/graphql/ws`.
//!
//! A client that has not authenticated may use little: a few KiB of memory, one of a limited number of
//! sockets, and ten seconds to send a token.

mod authentication;
mod heartbeat;
mod lifetime;
mod operations;

use std::{
    future::ready,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_graphql::{
    Data,
    http::{ClientMessage, WebSocket, WebSocketProtocols, WsMessage},
};
use axum::{
    Router,
    body::Bytes,
    extract::{
        State, WebSocketUpgrade,
        ws::{self, Message, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, Method},
    response::Response,
    routing::any,
};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::de::Error as _;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{sleep_until, timeout},
};

use self::{
    authentication::{authenticate, with_payload},
    heartbeat::Heartbeat,
    lifetime::{Authenticated, Lifetime, close},
    operations::Operations,
};
use super::{access_log::RequestLog, media::JSON, rejection::Rejection, request_id};
use crate::{app::App, graphql::document::has_too_many_values};

const PROTOCOL: &str = "graphql-transport-ws";
/// The largest message. Messages hold a token or the document of a subscription.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The size of a socket's read buffer, and of its write buffer.
const BUFFER_BYTES: usize = 4 * 1024;
/// The time in which a client must receive a message.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// How often the gateway pings a client. WebSocket libraries and browsers answer pings by themselves.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// The maximum number of open operations of one socket.
const MAX_OPEN_OPERATIONS: usize = 100;

/// The endpoint.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/graphql/ws", any(websocket))
}

async fn websocket(
    State(app): State<Arc<App>>,
    method: Method,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    mut headers: HeaderMap,
) -> Response {
    let (upgrade, permit) = match admit(&app, &method, upgrade) {
        Ok(admitted) => admitted,
        Err(rejection) => {
            let log = RequestLog::begin(&app.traces, &method, &headers);
            return rejection.answer(JSON, log).await;
        }
    };
    // Each operation gets its own request id.
    headers.remove(request_id::HEADER);
    let message_bytes = MAX_MESSAGE_BYTES.min(app.document.max_body_bytes);
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(message_bytes)
        .max_message_size(message_bytes)
        .protocols([PROTOCOL])
        .on_upgrade(move |socket| serve(app, headers, socket, permit))
}

/// Checks that the request asks for a WebSocket, and that another one may be open.
fn admit(
    app: &App,
    method: &Method,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<(WebSocketUpgrade, OwnedSemaphorePermit), Rejection> {
    if *method != Method::GET {
        return Err(Rejection::stream_method("GET"));
    }
    let Ok(upgrade) = upgrade else {
        return Err(Rejection::bad_request(
            "This path serves WebSockets of version 13 only: the request must have the headers of \
             an upgrade. Nothing was saved.",
        ));
    };
    let permit = app.limits.unauthenticated_socket();
    Ok((upgrade, permit.ok_or_else(Rejection::busy)?))
}

async fn serve(
    app: Arc<App>,
    headers: HeaderMap,
    socket: ws::WebSocket,
    permit: OwnedSemaphorePermit,
) {
    let (mut sink, messages) = socket.split();
    let (sender, authenticated) = oneshot::channel();
    let stop = app.stop.clone();
    let operations = Operations {
        app: app.clone(),
        headers: headers.clone(),
        open: Arc::default(),
    };
    let heartbeat = Heartbeat::new(PING_INTERVAL);
    let messages = valid_messages(
        messages,
        operations.open.clone(),
        heartbeat.received.clone(),
    );
    let messages = messages.map(|bytes| decode(&bytes));
    let protocol = WebSocketProtocols::GraphQLWS;
    let responses = WebSocket::from_message_stream(operations, messages, protocol)
        .on_connection_init(async move |payload: serde_json::Value| {
            let headers = with_payload(headers, &payload);
            let (caller, share) = authenticate(&app, &headers).await?;
            let expires = caller.expires;
            // This fails only if the socket has ended; then the share is released at once.
            let _ = sender.send(Authenticated { expires, share });
            let mut data = Data::default();
            data.insert(caller);
            Ok(data)
        });
    let responses = responses.take_until(stop.cancelled_owned()).map(message);
    let lifetime = Lifetime::without_token(Some(permit));
    let last = send_all(&mut sink, responses, lifetime, heartbeat, authenticated).await;
    let closing = async {
        if let Some(last) = last {
            sink.send(last).await?;
        }
        sink.close().await
    };
    if !matches!(timeout(SEND_DEADLINE, closing).await, Ok(Ok(()))) {
        tracing::debug!("a WebSocket could not be closed properly");
    }
}

/// Sends responses and pings until one side ends the socket or the client does not answer. The
/// subscriptions end when this returns, even if the client does not close its side. Returns the last
/// message for the client, if there is one.
async fn send_all(
    sink: &mut (impl Sink<Message> + Unpin),
    responses: impl Stream<Item = Message>,
    mut lifetime: Lifetime,
    mut heartbeat: Heartbeat,
    mut authenticated: oneshot::Receiver<Authenticated>,
) -> Option<Message> {
    let mut responses = pin!(responses);
    let mut init_handled = false;
    loop {
        let message = tokio::select! {
            biased;
            () = sleep_until(lifetime.until) => return Some(lifetime.close_message()),
            result = &mut authenticated, if !init_handled => {
                init_handled = true;
                // After a failed authentication, the next response has the error.
                if let Ok(authenticated) = result {
                    lifetime.authenticate(authenticated);
                }
                continue;
            }
            // Before the heartbeat: polling the responses also reads the client's messages. So a
            // message that arrived while something was being sent counts as a sign of life.
            response = responses.next() => response?,
            () = sleep_until(heartbeat.next) => {
                if !heartbeat.beat() {
                    return Some(unresponsive());
                }
                Message::Ping(Bytes::new())
            }
        };
        match timeout(SEND_DEADLINE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return None,
        }
    }
}

/// Decodes a message of the client. async-graphql sends the error to the client as the reason of the close, and
/// serde's own error quotes the message.
fn decode(message: &[u8]) -> serde_json::Result<ClientMessage> {
    ClientMessage::from_bytes(message)
        .map_err(|_| serde_json::Error::custom("The message can't be read."))
}

fn message(response: WsMessage) -> Message {
    match response {
        WsMessage::Text(text) => Message::Text(text.into()),
        WsMessage::Close(code, reason) => close(code, reason),
    }
}

/// The close message for a client that does not answer pings.
fn unresponsive() -> Message {
    close(3008, "Pings are not answered.".to_owned())
}

/// The client's messages, until one is invalid or has too many values, or too many operations are open.
/// Each message sets `received`, pongs included.
fn valid_messages(
    messages: impl Stream<Item = Result<Message, axum::Error>> + Send,
    open: Arc<AtomicUsize>,
    received: Arc<AtomicBool>,
) -> impl Stream<Item = Bytes> + Send {
    messages
        .inspect(move |_| received.store(true, Ordering::Relaxed))
        .take_while(move |_| ready(open.load(Ordering::Relaxed) <= MAX_OPEN_OPERATIONS))
        .take_while(|message| ready(message.is_ok()))
        .filter_map(|message| {
            ready(match message {
                Ok(Message::Text(text)) => Some(Bytes::from(text)),
                Ok(Message::Binary(bytes)) => Some(bytes),
                // axum answers the pings of the WebSocket protocol.
                _ => None,
            })
        })
        .take_while(|bytes| ready(!has_too_many_values(bytes)))
}

#[cfg(test)]
mod tests;
