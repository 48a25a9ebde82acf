//! Subscriptions: as server-sent events (`graphql-sse`, one connection each) at `/graphql/stream`,
//! and for the WebSockets of [`crate::http::websocket`].
//!
//! Nothing but subscriptions is served here: a mutation would have no deadline.

use std::{
    convert::Infallible,
    future::ready,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_graphql::{Data, Response as GraphqlResponse, ServerError};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response, Sse, sse},
    routing::post,
};
use futures_util::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use proto::amqp::envelope::since_epoch;
use tokio::time::sleep;

use super::{
    access_log::RequestLog,
    media::JSON,
    params::Params,
    prepare::{Failed, Prepared, Serves, prepare},
    receive::{Received, receive},
    rejection::Rejection,
    response::redact_errors,
};
use crate::{app::App, auth::caller::Caller, error_code::Code, limits::Full};

/// An idle stream shows that it lives; proxies close what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The endpoint.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/graphql/stream", post(events))
}

async fn events(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let mut log = RequestLog::begin(&app.traces, &Method::POST, &headers);
    let served = serve(&app, &uri, &headers, body, &mut log);
    let served = AssertUnwindSafe(served).catch_unwind().await;
    match served.unwrap_or_else(|_| Err(Rejection::failed())) {
        Ok(answers) => log.end_with(as_events(answers), &[]),
        Err(refused) => refused.answer(JSON, log).await,
    }
}

fn as_events(answers: BoxStream<'static, GraphqlResponse>) -> Response {
    let next = answers.map(|answer| {
        let data = serde_json::to_string(&answer).unwrap_or_default();
        Ok::<_, Infallible>(sse::Event::default().event("next").data(data))
    });
    let complete = stream::once(ready(Ok(sse::Event::default().event("complete").data(""))));
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
    let response = Sse::new(next.chain(complete)).keep_alive(keep_alive);
    response.into_response()
}

/// What GraphQL has to say about a document is said in the stream, as the protocol wants it.
async fn serve(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    log: &mut RequestLog,
) -> Result<BoxStream<'static, GraphqlResponse>, Rejection> {
    let received = receive(app, &Method::POST, uri, headers, body).await?;
    let Received {
        caller,
        params,
        room: _room,
    } = received;
    match subscribe(app, &caller, params, log) {
        Ok(answers) => Ok(answers),
        Err(Failed::Rejection(refused)) => Err(refused),
        Err(Failed::Invalid(mut error)) => {
            log.name(&mut error);
            Ok(stream::once(ready(GraphqlResponse::from_errors(vec![error]))).boxed())
        }
    }
}

/// Executes a subscription, within the limits, until its token expires or the gateway stops.
pub(super) fn subscribe(
    app: &App,
    caller: &Caller,
    params: Params,
    log: &mut RequestLog,
) -> Result<BoxStream<'static, GraphqlResponse>, Failed> {
    let Prepared {
        request, streams, ..
    } = prepare(app, caller.clone(), params, Serves::Streams, log)?;
    let places = app.limits.subscribe(caller, streams);
    let places = places.map_err(|full| Failed::Invalid(too_many(full).error()))?;
    let lifetime = Duration::from_secs(caller.expires.saturating_sub(since_epoch().as_secs()));
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let lives = async move {
        sleep(lifetime).await;
        over.store(true, Ordering::Relaxed);
    };
    let last_word = stream::once(async move {
        let expired = || GraphqlResponse::from_errors(vec![expired().error()]);
        is_over.load(Ordering::Relaxed).then(expired)
    });
    let told = app
        .schemas
        .strict
        .execute_stream_with_session_data(request, Arc::<Data>::default());
    let name = log.namer();
    let stream = guarded(told)
        .map(redact_errors)
        .take_until(lives)
        .chain(last_word.filter_map(ready))
        .take_until(app.stop.clone().cancelled_owned())
        .map(move |mut answer| {
            let _held_until_the_end = &places;
            answer.errors.iter_mut().for_each(&name);
            answer
        });
    Ok(stream.boxed())
}

/// A stream that ends with an error, where it would take its connection's task with it.
fn guarded(
    stream: impl Stream<Item = GraphqlResponse> + Send,
) -> impl Stream<Item = GraphqlResponse> + Send {
    let failed = |_| GraphqlResponse::from_errors(vec![Rejection::failed().error()]);
    let stream = AssertUnwindSafe(stream).catch_unwind();
    stream.map(move |answer| answer.unwrap_or_else(failed))
}

fn too_many(full: Full) -> Rejection {
    match full {
        Full::Bearer => full.into(),
        Full::All => Rejection::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::ServiceUnavailable,
            "Too many subscriptions are open. Repeating is safe.",
        ),
    }
}

fn expired() -> Rejection {
    Rejection::new(
        StatusCode::UNAUTHORIZED,
        Code::Unauthenticated,
        "The token has expired.",
    )
}

/// The answer to an operation that is refused, a moment later if its bearer asks too often.
pub(super) async fn refusal(failed: Failed, log: RequestLog) -> GraphqlResponse {
    let (mut error, status) = match failed {
        Failed::Rejection(refused) => {
            refused.wait().await;
            (refused.error(), refused.status())
        }
        Failed::Invalid(error) => (error, StatusCode::OK),
    };
    log.name(&mut error);
    let code = code_of(&error);
    log.end(status, &[code]);
    GraphqlResponse::from_errors(vec![error])
}

fn code_of(error: &ServerError) -> &'static str {
    let code = crate::graphql::errors::code(error).and_then(Code::named);
    code.unwrap_or(Code::InternalServerError).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_subscription_ends_it_with_an_error() {
        let answers = stream::iter([1, 2, 3]).map(|number| {
            assert!(number < 2, "it fails");
            GraphqlResponse::new(number)
        });

        let told: Vec<_> = guarded(answers).collect().await;

        let codes: Vec<_> = told
            .iter()
            .map(|answer| answer.errors.first().map(code_of))
            .collect();
        assert_eq!(codes, [None, Some("INTERNAL_SERVER_ERROR")]);
    }
}
