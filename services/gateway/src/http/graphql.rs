//! `/graphql`.
//!
//! async-graphql's own handler executes a mutation that comes by GET or as `text/plain`, which
//! any web page can send. This one takes POST only as `application/json`, and nothing but
//! queries by GET.

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
use crate::{app::App, error_code::Code, graphql::errors::code, limits::Share};

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
        Err(refused) => Err(refused),
    };
    match served {
        Ok(Answered { answered, share }) => {
            let errors = answered.errors.iter();
            let codes: Vec<String> = errors.filter_map(code).map(ToOwned::to_owned).collect();
            let response = answer(answered, share, media, &log);
            let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
            log.end_with(response, &codes)
        }
        Err(refused) => refused.answer(media, log).await,
    }
}

/// What GraphQL has to say.
struct Answered {
    answered: GraphqlResponse,
    /// The memory that a large answer takes.
    share: Option<Share>,
}

/// In the order in which things cost: the headers, the token, one unit of what its bearer may ask
/// for, the body, a place, the analysis of the document, the rest of what it costs, its execution.
async fn serve(
    app: &App,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
    log: &mut RequestLog,
) -> Result<Answered, Rejection> {
    let serves = match *method {
        Method::POST => Serves::Post,
        Method::GET => Serves::Get,
        _ => return Err(Rejection::method("GET, POST")),
    };
    let received = receive(app, method, uri, headers, body).await?;
    let Received {
        caller,
        params,
        room: _room,
    } = received;
    let _place = app.limits.enter(&caller)?;
    match prepare(app, caller, params, serves, log) {
        Ok(prepared) => Ok(execute(app, prepared).await),
        Err(Failed::Rejection(refused)) => Err(refused),
        Err(Failed::Invalid(error)) => Ok(Answered {
            answered: GraphqlResponse::from_errors(vec![error]),
            share: None,
        }),
    }
}

async fn execute(app: &App, prepared: Prepared) -> Answered {
    let Prepared {
        request,
        answer,
        trusted,
        unproven,
        ..
    } = prepared;
    let schemas = &app.schemas;
    let schema = if trusted {
        &schemas.trusting
    } else {
        &schemas.strict
    };
    let answered = redact_errors(schema.execute(request).await);
    let invalid = Code::GraphqlValidationFailed.as_str();
    if let Some(query) = unproven
        && !answered.errors.iter().any(|it| code(it) == Some(invalid))
    {
        app.documents.is_valid(&query);
    }
    Answered {
        answered,
        share: answer.share(),
    }
}
