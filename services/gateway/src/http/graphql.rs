//! The endpoint `/graphql`.
//!
//! async-graphql's own handler executes mutations sent with GET or as `text/plain`, which any web page
//! can send. This handler accepts POST only with `application/json`, and GET only for queries.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_graphql::Response as GraphqlResponse;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Uri},
    response::Response,
    routing::any,
};
use futures_util::FutureExt as _;

use super::{
    access_log::RequestLog,
    media::JSON,
    negotiation::negotiate,
    prepare::{Failed, Prepared, Serves, prepare},
    receive::{Received, receive},
    rejection::Rejection,
    response::{answer, redact_errors},
};
use crate::{app::App, graphql::errors::code, limits::Share};

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route("/graphql", any(graphql))
}

async fn graphql(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut log = RequestLog::begin(&app.traces, &method, &headers);
    let negotiated = negotiate(&headers);
    let media = *negotiated.as_ref().unwrap_or(&JSON);
    let served = match negotiated {
        Ok(_) => {
            let served = serve(&app, &method, &uri, &headers, body, &mut log);
            let served = AssertUnwindSafe(served).catch_unwind().await;
            served.unwrap_or_else(|_| Err(Rejection::failed()))
        }
        Err(rejection) => Err(rejection),
    };
    match served {
        Ok(Executed { response, share }) => {
            let errors = response.errors.iter();
            let codes: Vec<String> = errors.filter_map(code).map(ToOwned::to_owned).collect();
            let response = answer(response, share, media, &log);
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            log.end_with(response, &codes)
        }
        Err(rejection) => rejection.answer(media, log).await,
    }
}

/// The GraphQL response to a request that was not rejected.
struct Executed {
    response: GraphqlResponse,
    /// The memory of a large answer, reserved until the answer is sent.
    share: Option<Share>,
}

/// Checks the cheapest things first: the headers, the token, the rate of requests, the body, the number of
/// requests in progress, the document and its cost. Then executes the document.
async fn serve(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    log: &mut RequestLog,
) -> Result<Executed, Rejection> {
    let serves = match *method {
        Method::POST => Serves::Post,
        Method::GET => Serves::Get,
        _ => return Err(Rejection::method("GET, POST")),
    };
    let received = receive(app, method, uri, headers, body).await?;
    let Received {
        caller,
        params,
        memory: _memory,
    } = received;
    let _in_progress = app.limits.enter(&caller)?;
    match prepare(app, caller, params, serves, log) {
        Ok(prepared) => Ok(execute(app, prepared).await),
        Err(Failed::Rejection(rejection)) => Err(rejection),
        Err(Failed::Invalid(error)) => Ok(Executed {
            response: GraphqlResponse::from_errors(vec![error]),
            share: None,
        }),
    }
}

async fn execute(app: &App, prepared: Prepared) -> Executed {
    let Prepared {
        request, answer, ..
    } = prepared;
    let response = redact_errors(app.schema.execute(request).await);
    Executed {
        response,
        share: answer.share(),
    }
}
