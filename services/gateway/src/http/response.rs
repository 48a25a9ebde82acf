//! The HTTP answer to a GraphQL request, with the headers that every answer has.

use std::convert::Infallible;

use async_graphql::Response as GraphqlResponse;
use axum::{
    body::{Body, Bytes},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::Response,
};
use futures_util::stream;

use super::{
    access_log::RequestLog,
    media::{GRAPHQL_JSON, JSON},
};
use crate::{
    graphql::{error_text, errors::code},
    limits::Share,
};

/// The size of the parts in which large bodies are sent.
const PART_BYTES: usize = 64 * 1024;

/// Replaces the errors that async-graphql made by one without values of the request. Such errors mean
/// that the document is not valid.
pub(super) fn redact_errors(mut response: GraphqlResponse) -> GraphqlResponse {
    let (from_resolvers, from_schema): (Vec<_>, Vec<_>) = response
        .errors
        .into_iter()
        .partition(|error| code(error).is_some());
    response.errors = from_resolvers;
    if let Some(first) = from_schema.first() {
        response
            .errors
            .insert(0, error_text::validation_failed(first));
    }
    response
}

/// A GraphQL answer. A request error has no `data`. Its HTTP status is an error only for clients that
/// accept `application/graphql-response+json`, because older clients read the body of a 200 only.
pub(super) fn answer(
    mut response: GraphqlResponse,
    share: Option<Share>,
    media: &'static str,
    log: &RequestLog,
) -> Response {
    for error in &mut response.errors {
        log.identify(error);
    }
    let is_request_error = !response.errors.is_empty()
        && response.data == async_graphql::Value::Null
        && response.errors.iter().all(|error| error.path.is_empty());
    let status = if is_request_error && media == GRAPHQL_JSON {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    let body = if is_request_error {
        serde_json::to_vec(&serde_json::json!({ "errors": response.errors }))
    } else {
        serde_json::to_vec(&response)
    };
    match (body, share) {
        (Ok(body), Some(share)) => with_headers(status, media, in_parts(body, share)),
        (Ok(body), None) => respond(status, media, body),
        (Err(error), _) => {
            tracing::error!(%error, "an answer can't be serialised");
            respond(StatusCode::INTERNAL_SERVER_ERROR, media, Vec::new())
        }
    }
}

/// A large body in parts. Its memory stays reserved until the last part is taken.
fn in_parts(body: Vec<u8>, share: Share) -> (Body, Option<usize>) {
    let length = body.len();
    let parts = stream::unfold((Bytes::from(body), share), async |(mut rest, share)| {
        let part = rest.split_to(rest.len().min(PART_BYTES));
        (!part.is_empty()).then_some((Ok::<_, Infallible>(part), (rest, share)))
    });
    (Body::from_stream(parts), Some(length))
}

pub(super) fn respond(status: StatusCode, media: &'static str, body: Vec<u8>) -> Response {
    with_headers(status, media, (Body::from(body), None))
}

/// `length` is the length of a body that does not know its own.
fn with_headers(
    status: StatusCode,
    media: &'static str,
    (body, length): (Body, Option<usize>),
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = if media == JSON {
        "application/json; charset=utf-8"
    } else {
        "application/graphql-response+json; charset=utf-8"
    };
    let headers = response.headers_mut();
    headers.extend(length.map(|length| (CONTENT_LENGTH, length.into())));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Answers are for one client, so caches must not store them.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
