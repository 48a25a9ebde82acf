//! Subscriptions: over WebSocket (`graphql-transport-ws`) at `/graphql/ws`, and as server-sent events
//! (`graphql-sse`, one connection each) at `/graphql/stream`.
//!
//! Nothing but subscriptions is served here: a mutation would escape what `/graphql` checks.

use std::{
    any::TypeId,
    convert::Infallible,
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use async_graphql::{
    Data, Executor, Request, Response as GraphqlResponse, ServerError,
    http::{WebSocket, WebSocketProtocols, WsMessage},
    parser::types::OperationType,
};
use axum::{
    Router,
    body::Body,
    extract::{
        State, WebSocketUpgrade,
        ws::{self, CloseFrame, Message},
    },
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    response::{IntoResponse as _, Response, Sse, sse},
    routing::{get, post},
};
use futures_util::{
    SinkExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use proto::envelope::since_epoch;
use tokio::time::sleep;

use super::{
    App, answer::in_our_words, negotiation::is_json, observed::Observed, params::Params, read,
    refused::Refused,
};
use crate::{
    auth::Refusal, code::Code, document, failure::extensions, limits::Charge, schema::Caller,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// An idle stream shows that it lives; proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What may stand in `connection_init`, since a browser can't set headers.
const IN_PAYLOAD: [&str; 3] = ["authorization", "space_guid", "space-guid"];

/// The endpoints.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/graphql/ws", get(websocket))
        .route("/graphql/stream", post(events))
}

async fn websocket(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(app.document.max_body_bytes)
        .protocols([PROTOCOL])
        .on_upgrade(move |socket| converse(app, headers, socket))
}

async fn converse(app: App, headers: HeaderMap, socket: ws::WebSocket) {
    let (mut sink, stream) = socket.split();
    let messages = stream
        .take_while(|message| ready(message.is_ok()))
        .filter_map(|message| ready(message.ok().map(Message::into_data)));
    let stopped = app.stop.clone();
    let executor = Subscriber(app.clone());
    let answers = WebSocket::new(executor, messages, WebSocketProtocols::GraphQLWS)
        .on_connection_init(async move |payload: serde_json::Value| {
            let headers = with_payload(headers, &payload);
            let caller = app.auth.caller(&headers).await.map_err(|refusal| {
                async_graphql::Error::new(match refusal {
                    Refusal::BadRequest(message) | Refusal::Unauthenticated(message) => message,
                    Refusal::OtherSpace => "SPACE_GUID is not a Space of this token.",
                    Refusal::NoKeys => "Tokens can't be checked at the moment.",
                })
            })?;
            let mut data = Data::default();
            data.insert(caller);
            Ok(data)
        });
    let mut answers = Box::pin(answers.take_until(stopped.cancelled_owned()));
    while let Some(answer) = answers.next().await {
        let message = match answer {
            WsMessage::Text(text) => Message::Text(text.into()),
            WsMessage::Close(code, reason) => Message::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            })),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
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

async fn events(State(app): State<App>, headers: HeaderMap, body: Body) -> Response {
    let observed = Observed::begin(&app.traces, &Method::POST, &headers);
    match stream_of(&app, &headers, body, &observed).await {
        Ok(answers) => {
            let next = answers.map(|answer| {
                let data = serde_json::to_string(&answer).unwrap_or_default();
                Ok::<_, Infallible>(sse::Event::default().event("next").data(data))
            });
            let complete =
                stream::once(ready(Ok(sse::Event::default().event("complete").data(""))));
            let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
            let response = Sse::new(next.chain(complete)).keep_alive(keep_alive);
            let response = response.into_response();
            observed.end(response.status(), &[]);
            response
        }
        Err(refused) => {
            let code = refused.code.as_str();
            let response = refused.respond(super::JSON, &observed);
            observed.end(response.status(), &[code]);
            response
        }
    }
}

async fn stream_of(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    observed: &Observed,
) -> Result<BoxStream<'static, GraphqlResponse>, Refused> {
    if !is_json(headers) {
        return Err(Refused::not_json());
    }
    let caller = app.auth.caller(headers).await?;
    let params = Params::of_body(&read(body, app.document.max_body_bytes).await?)?;
    let mut request = Request::new(params.query)
        .variables(params.variables)
        .data(observed.place(&app.traces));
    request.operation_name = params.operation_name;
    let mut data = Data::default();
    data.insert(caller);
    Ok(Subscriber(app.clone()).execute_stream(request, Some(Arc::new(data))))
}

/// Executes subscriptions, within the limits, until their token expires or the gateway stops.
#[derive(Clone)]
struct Subscriber(App);

impl Executor for Subscriber {
    fn execute(&self, _: Request) -> impl Future<Output = GraphqlResponse> + Send {
        ready(GraphqlResponse::from_errors(vec![only_subscriptions()]))
    }

    fn execute_stream(
        &self,
        request: Request,
        session: Option<Arc<Data>>,
    ) -> BoxStream<'static, GraphqlResponse> {
        match self.subscribe(request, session) {
            Ok(stream) => stream.boxed(),
            Err(error) => stream::once(ready(GraphqlResponse::from_errors(vec![error]))).boxed(),
        }
    }
}

impl Subscriber {
    fn subscribe(
        &self,
        mut request: Request,
        session: Option<Arc<Data>>,
    ) -> Result<impl Stream<Item = GraphqlResponse> + Send + use<>, ServerError> {
        let Self(app) = self;
        let session = session.unwrap_or_default();
        let caller = session
            .get(&TypeId::of::<Caller>())
            .and_then(|caller| caller.downcast_ref::<Caller>())
            .ok_or_else(|| error(Code::Unauthenticated, "A token is required."))?;
        app.limits.charge(caller, Charge::Reads(1)).map_err(|_| {
            error(
                Code::RateLimited,
                "This subject asks too often in this Space.",
            )
        })?;
        let place = app.limits.subscribe().ok_or_else(|| {
            error(
                Code::ServiceUnavailable,
                "Too many subscriptions are open. Repeating is safe.",
            )
        })?;
        let document = app.documents.parse(&request.query)?.document;
        let operation = document::operation(&document, request.operation_name.as_deref());
        if operation.is_none_or(|operation| operation.ty != OperationType::Subscription) {
            return Err(only_subscriptions());
        }
        app.document.check(&document, 0)?;
        request.set_parsed_query(document);
        let lifetime = Duration::from_secs(caller.expires.saturating_sub(since_epoch().as_secs()));
        let expired = error(Code::Unauthenticated, "The token has expired.");
        let expired = stream::once(ready(GraphqlResponse::from_errors(vec![expired])));
        let stream = app
            .schemas
            .strict
            .execute_stream_with_session_data(request, session)
            .map(in_our_words)
            .take_until(sleep(lifetime))
            .chain(expired)
            .take_until(app.stop.clone().cancelled_owned())
            .map(move |answer| {
                let _held_until_the_end = &place;
                answer
            });
        Ok(stream)
    }
}

fn only_subscriptions() -> ServerError {
    error(
        Code::BadRequest,
        "Only subscriptions are served here; queries and mutations at /graphql.",
    )
}

fn error(code: Code, message: &str) -> ServerError {
    let mut error = ServerError::new(message, None);
    let retryable = matches!(code, Code::RateLimited | Code::ServiceUnavailable);
    error.extensions = Some(extensions(code.as_str(), retryable));
    error
}
