//! Subscriptions over WebSocket (`graphql-transport-ws`) at `/graphql/ws`.
//!
//! A socket costs something before it is known whose it is, so little is given to a stranger: a few
//! KiB, one of a few places, and ten seconds to show a token.

use std::{
    any::TypeId,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_graphql::{
    Data, Executor, Request, Response as GraphqlResponse,
    http::{WebSocket, WebSocketProtocols, WsMessage},
};
use axum::{
    Router,
    body::Bytes,
    extract::{
        State, WebSocketUpgrade,
        ws::{self, CloseFrame, Message},
    },
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    response::Response,
    routing::get,
};
use futures_util::{
    FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use proto::amqp::envelope::since_epoch;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    access_log::RequestLog,
    media::JSON,
    params::Params,
    prepare::only_subscriptions,
    rejection::Rejection,
    request_id,
    sse::{refusal, subscribe},
};
use crate::{
    app::App,
    auth::{AuthError, caller::Caller},
    graphql::document::has_too_many_values,
    limits::{Full, Share},
};

const PROTOCOL: &str = "graphql-transport-ws";
/// What may stand in `connection_init`, since a browser can't set headers.
const IN_PAYLOAD: [&str; 3] = ["authorization", "space_guid", "space-guid"];
/// A message holds a token or the document of a subscription.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Of each socket, in each direction.
const BUFFER_BYTES: usize = 4 * 1024;
/// Until `connection_init` must have shown a token.
const INIT_DEADLINE: Duration = Duration::from_secs(10);
/// Until a client must have taken a message.
const SEND_DEADLINE: Duration = Duration::from_secs(30);
/// After the token has expired: subscriptions say so, and end, before the socket is closed.
const AFTER_EXPIRY: Duration = Duration::from_secs(5);
/// How often a client is pinged. Clients answer pings below GraphQL, browsers by themselves.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that has sent nothing at all in so many of these intervals, one after the other, is gone.
const MOST_SILENT: u32 = 2;
/// Operations that one socket may have open.
const MOST_OPEN: usize = 100;

/// The endpoint.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/graphql/ws", get(websocket))
}

async fn websocket(
    State(app): State<Arc<App>>,
    mut headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(stranger) = app.limits.stranger() else {
        let log = RequestLog::begin(&app.traces, &Method::GET, &headers);
        return Rejection::busy().answer(JSON, log).await;
    };
    // Each operation gets an id of its own.
    headers.remove(request_id::HEADER);
    let message_bytes = MESSAGE_BYTES.min(app.document.max_body_bytes);
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_frame_size(message_bytes)
        .max_message_size(message_bytes)
        .protocols([PROTOCOL])
        .on_upgrade(move |socket| converse(app, headers, socket, stranger))
}

/// What a socket gets once it has shown a token.
struct Known {
    expires: u64,
    /// Its place among the sockets, kept until it ends.
    #[expect(dead_code, reason = "it is given back when it is dropped")]
    place: Share,
}

/// How long a socket may stay: as a stranger, or as long as its token is good.
struct Stay {
    stranger: Option<OwnedSemaphorePermit>,
    known: Option<Known>,
    until: Instant,
}

impl Stay {
    fn as_stranger(place: OwnedSemaphorePermit) -> Self {
        Self {
            stranger: Some(place),
            known: None,
            until: Instant::now() + INIT_DEADLINE,
        }
    }

    fn as_known(&mut self, known: Known) {
        let left = known.expires.saturating_sub(since_epoch().as_secs());
        self.until = Instant::now() + Duration::from_secs(left) + AFTER_EXPIRY;
        self.known = Some(known);
        self.stranger = None;
    }

    /// Why it ends.
    fn end(&self) -> Message {
        match self.known {
            Some(_) => close(4403, "The token has expired.".to_owned()),
            None => close(4408, "Connection initialisation timeout".to_owned()),
        }
    }
}

/// Whether anything still comes from the client: one that vanished without closing its connection
/// would keep its place until its token expires. async-graphql's own timeout does not fit: it knows
/// nothing of pongs, and a client that only listens sends nothing else.
struct Pulse {
    every: Duration,
    /// The end of this interval.
    next: Instant,
    /// Set by whatever comes from the client, since the interval began.
    heard: Arc<AtomicBool>,
    /// How many intervals before this one were silent, one after the other.
    silent: u32,
}

impl Pulse {
    fn new(every: Duration) -> Self {
        Self {
            every,
            next: Instant::now() + every,
            heard: Arc::default(),
            silent: 0,
        }
    }

    /// Begins the next interval. False: the client is gone.
    fn beat(&mut self) -> bool {
        let heard = self.heard.swap(false, Ordering::Relaxed);
        self.silent = if heard { 0 } else { self.silent + 1 };
        self.next = Instant::now() + self.every;
        self.silent < MOST_SILENT
    }
}

async fn converse(
    app: Arc<App>,
    headers: HeaderMap,
    socket: ws::WebSocket,
    stranger: OwnedSemaphorePermit,
) {
    let (mut sink, messages) = socket.split();
    let (known, becomes_known) = oneshot::channel();
    let stopped = app.stop.clone();
    let operations = Operations {
        app: app.clone(),
        headers: headers.clone(),
        open: Arc::default(),
    };
    let pulse = Pulse::new(PING_EVERY);
    let messages = readable(messages, operations.open.clone(), pulse.heard.clone());
    let answers = WebSocket::new(operations, messages, WebSocketProtocols::GraphQLWS)
        .on_connection_init(async move |payload: serde_json::Value| {
            let headers = with_payload(headers, &payload);
            let (caller, place) = introduce(&app, &headers).await?;
            let expires = caller.expires;
            let _ = known.send(Known { expires, place });
            let mut data = Data::default();
            data.insert(caller);
            Ok(data)
        });
    let answers = answers.take_until(stopped.cancelled_owned()).map(message);
    let stay = Stay::as_stranger(stranger);
    let last = tell(&mut sink, answers, stay, pulse, becomes_known).await;
    let close = async {
        if let Some(last) = last {
            let _ = sink.send(last).await;
        }
        sink.close().await
    };
    let _ = timeout(SEND_DEADLINE, close).await;
}

/// Sends what there is to say, and pings, until one side ends it or the client is gone. Subscriptions
/// have ended then, however long the client takes to close its side. Returns the last word, if there
/// is one.
async fn tell(
    sink: &mut (impl Sink<Message> + Unpin),
    answers: impl Stream<Item = Message>,
    mut stay: Stay,
    mut pulse: Pulse,
    mut becomes_known: oneshot::Receiver<Known>,
) -> Option<Message> {
    let mut answers = pin!(answers);
    let mut is_asked = false;
    loop {
        let message = tokio::select! {
            biased;
            () = sleep_until(stay.until) => return Some(stay.end()),
            known = &mut becomes_known, if !is_asked => {
                is_asked = true;
                // Without one, the next answer says that the token is no good.
                if let Ok(known) = known {
                    stay.as_known(known);
                }
                continue;
            }
            // Before the pulse: messages are read while answers are awaited. So the client is not
            // given up for what has come already, while something else was being sent.
            answer = answers.next() => answer?,
            () = sleep_until(pulse.next) => {
                if !pulse.beat() {
                    return Some(gone());
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

fn message(answer: WsMessage) -> Message {
    match answer {
        WsMessage::Text(text) => Message::Text(text.into()),
        WsMessage::Close(code, reason) => close(code, reason),
    }
}

/// The last word to a client that is gone. One that is there, but does not answer pings, gets to see it.
fn gone() -> Message {
    close(3008, "Pings are not answered.".to_owned())
}

fn close(code: u16, reason: String) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// The messages that are read: until one can't be, has too many values, or comes from a client that
/// has too many operations open. Each sets `heard`, pongs too.
fn readable(
    messages: impl Stream<Item = Result<Message, axum::Error>> + Send,
    open: Arc<AtomicUsize>,
    heard: Arc<AtomicBool>,
) -> impl Stream<Item = Bytes> + Send {
    messages
        .inspect(move |_| heard.store(true, Ordering::Relaxed))
        .take_while(move |_| ready(open.load(Ordering::Relaxed) <= MOST_OPEN))
        .take_while(|message| ready(message.is_ok()))
        .filter_map(|message| {
            ready(match message {
                Ok(Message::Text(text)) => Some(Bytes::from(text)),
                Ok(Message::Binary(bytes)) => Some(bytes),
                // Pings are answered below GraphQL.
                _ => None,
            })
        })
        .take_while(|bytes| ready(!has_too_many_values(bytes)))
}

async fn introduce(
    app: &App,
    headers: &HeaderMap,
) -> Result<(Caller, Share), async_graphql::Error> {
    let caller = app.auth.caller(headers).await.map_err(|refusal| {
        async_graphql::Error::new(match refusal {
            AuthError::BadRequest(message) | AuthError::Unauthenticated(message) => message,
            AuthError::OtherSpace => "SPACE_GUID is not a Space of this token.",
            AuthError::NoKeys => "Tokens can't be checked at the moment.",
        })
    })?;
    let too_often = |_| async_graphql::Error::new("This subject asks too often in this Space.");
    app.limits.request(&caller).map_err(too_often)?;
    let place = app.limits.socket(&caller).map_err(|full| {
        async_graphql::Error::new(match full {
            Full::Bearer => "This subject has too many sockets open in this Space.",
            Full::All => "Too many sockets are open.",
        })
    })?;
    Ok((caller, place))
}

/// The headers of the request, and those that the client put into its first message instead.
fn with_payload(mut headers: HeaderMap, payload: &serde_json::Value) -> HeaderMap {
    for (name, value) in payload.as_object().into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        let value = value
            .as_str()
            .and_then(|text| HeaderValue::from_str(text).ok());
        if let (true, Ok(name), Some(value)) = (
            IN_PAYLOAD.contains(&name.as_str()),
            HeaderName::try_from(name.as_str()),
            value,
        ) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Executes what one socket asks for.
#[derive(Clone)]
struct Operations {
    app: Arc<App>,
    headers: HeaderMap,
    /// How many are open.
    open: Arc<AtomicUsize>,
}

/// An operation that is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor for Operations {
    fn execute(&self, _: Request) -> impl Future<Output = GraphqlResponse> + Send {
        ready(GraphqlResponse::from_errors(vec![only_subscriptions()]))
    }

    fn execute_stream(
        &self,
        request: Request,
        session: Option<Arc<Data>>,
    ) -> BoxStream<'static, GraphqlResponse> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.open.clone());
        let caller = session.as_ref().and_then(|session| {
            let caller = session.get(&TypeId::of::<Caller>())?;
            caller.downcast_ref::<Caller>().cloned()
        });
        let answers = operate(self.app.clone(), self.headers.clone(), caller, request);
        let held = move |answer| {
            let _until_the_end = &open;
            answer
        };
        answers.flatten_stream().map(held).boxed()
    }
}

async fn operate(
    app: Arc<App>,
    headers: HeaderMap,
    caller: Option<Caller>,
    request: Request,
) -> BoxStream<'static, GraphqlResponse> {
    let mut log = RequestLog::begin(&app.traces, &Method::GET, &headers);
    let params = Params {
        query: request.query,
        variables: request.variables,
        operation_name: request.operation_name,
    };
    let subscribed = async {
        let caller = caller.ok_or(AuthError::Unauthenticated("A token is required."))?;
        app.limits.request(&caller)?;
        subscribe(&app, &caller, params, &mut log)
    };
    let subscribed = AssertUnwindSafe(subscribed).catch_unwind().await;
    match subscribed.unwrap_or_else(|_| Err(Rejection::failed().into())) {
        Ok(answers) => {
            log.end(axum::http::StatusCode::OK, &[]);
            answers
        }
        Err(failed) => stream::once(refusal(failed, log)).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::sink;
    use tokio::sync::mpsc;

    use super::*;

    /// Tells nothing to a client that answers so many pings and then falls silent. Returns how many
    /// pings it was sent, and the last word.
    async fn tell_one_that_answers(pings: usize) -> (usize, Option<Message>) {
        let pulse = Pulse::new(Duration::from_millis(5));
        let (answer, mut received) = mpsc::unbounded_channel();
        let received = stream::poll_fn(move |context| received.poll_recv(context));
        let messages = readable(received, Arc::default(), pulse.heard.clone());
        let sent = AtomicUsize::new(0);
        let client = sink::unfold((), |(), message: Message| {
            assert_eq!(message, Message::Ping(Bytes::new()));
            if sent.fetch_add(1, Ordering::Relaxed) < pings {
                let _ = answer.send(Ok(Message::Pong(Bytes::new())));
            }
            ready(Ok::<_, Infallible>(()))
        });
        let mut client = pin!(client);
        let stay = Stay {
            stranger: None,
            known: None,
            until: Instant::now() + INIT_DEADLINE,
        };
        let (_known, becomes_known) = oneshot::channel();
        let answers = messages.map(Message::Binary);
        let last = tell(&mut client, answers, stay, pulse, becomes_known).await;
        (sent.load(Ordering::Relaxed), last)
    }

    #[tokio::test]
    async fn a_client_that_is_silent_for_two_intervals_is_given_up() {
        assert_eq!(tell_one_that_answers(0).await, (1, Some(gone())));
        // Three are answered, the fourth is not, and the fifth follows the first silent interval.
        assert_eq!(tell_one_that_answers(3).await, (5, Some(gone())));
    }
}
