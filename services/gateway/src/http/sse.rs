//! Subscriptions as server-sent events (`graphql-sse`, one connection each) at `/graphql/stream`.
//! [`crate::http::websocket`] uses [`subscribe`], too.
//!
//! Only subscriptions are served here, because a mutation would have no deadline.

use std::{
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
    routing::any,
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

/// How often an idle stream sends a comment. Proxies close streams that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The endpoint.
pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/graphql/stream", any(events))
}

async fn events(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut log = RequestLog::begin(&app.traces, &method, &headers);
    if method != Method::POST {
        return Rejection::stream_method("POST").answer(JSON, log).await;
    }
    let served = serve(&app, &uri, &headers, body, &mut log);
    let served = AssertUnwindSafe(served).catch_unwind().await;
    match served.unwrap_or_else(|_| Err(Rejection::failed())) {
        Ok(responses) => log.end_with(as_events(responses), &[]),
        Err(rejection) => rejection.answer(JSON, log).await,
    }
}

/// A response that can't be serialised ends the stream with an error.
fn as_events(responses: BoxStream<'static, GraphqlResponse>) -> Response {
    let next = responses.map(|response| {
        let data = serde_json::to_string(&response)?;
        Ok::<_, serde_json::Error>(sse::Event::default().event("next").data(data))
    });
    let complete = stream::once(ready(Ok(sse::Event::default().event("complete").data(""))));
    let keep_alive = sse::KeepAlive::new().interval(KEEP_ALIVE);
    let response = Sse::new(next.chain(complete)).keep_alive(keep_alive);
    response.into_response()
}

/// An error in the document is sent as an event of the stream, as the protocol requires.
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
        memory: _memory,
    } = received;
    match subscribe(app, &caller, params, log) {
        Ok(responses) => Ok(responses),
        Err(Failed::Rejection(rejection)) => Err(rejection),
        Err(Failed::Invalid(mut error)) => {
            log.identify(&mut error);
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
    let share = app.limits.subscribe(caller, streams);
    let share = share.map_err(|full| Failed::Invalid(too_many(full).error()))?;
    let lifetime = Duration::from_secs(caller.expires.saturating_sub(since_epoch().as_secs()));
    let is_expired = Arc::new(AtomicBool::new(false));
    let set_expired = is_expired.clone();
    let token_expires = async move {
        sleep(lifetime).await;
        set_expired.store(true, Ordering::Relaxed);
    };
    let last_response = stream::once(async move {
        let expired = || GraphqlResponse::from_errors(vec![expired().error()]);
        is_expired.load(Ordering::Relaxed).then(expired)
    });
    let responses = app
        .schema
        .execute_stream_with_session_data(request, Arc::<Data>::default());
    let identify = log.identifier();
    let stream = catch_panics(responses)
        .map(redact_errors)
        .take_until(token_expires)
        .chain(last_response.filter_map(ready))
        .take_until(app.stop.clone().cancelled_owned())
        .map(move |mut response| {
            let _until_the_stream_ends = &share;
            response.errors.iter_mut().for_each(&identify);
            response
        });
    Ok(stream.boxed())
}

/// Turns a panic into an error response, which ends the stream. Without this, the panic would end the
/// connection's task.
fn catch_panics(
    stream: impl Stream<Item = GraphqlResponse> + Send,
) -> impl Stream<Item = GraphqlResponse> + Send {
    let failed = |_| GraphqlResponse::from_errors(vec![Rejection::failed().error()]);
    let stream = AssertUnwindSafe(stream).catch_unwind();
    stream.map(move |response| response.unwrap_or_else(failed))
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

/// The response to an operation that is not executed, with a delay if the client exceeds a limit.
pub(super) async fn error_response(failed: Failed, log: RequestLog) -> GraphqlResponse {
    let (mut error, status) = match failed {
        Failed::Rejection(rejection) => {
            rejection.delay().await;
            (rejection.error(), rejection.status())
        }
        Failed::Invalid(error) => (error, StatusCode::OK),
    };
    log.identify(&mut error);
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
        let responses = stream::iter([1, 2, 3]).map(|number| {
            assert!(number < 2, "it fails");
            GraphqlResponse::new(number)
        });

        let received: Vec<_> = catch_panics(responses).collect().await;

        let codes: Vec<_> = received
            .iter()
            .map(|response| response.errors.first().map(code_of))
            .collect();
        assert_eq!(codes, [None, Some("INTERNAL_SERVER_ERROR")]);
    }
}
