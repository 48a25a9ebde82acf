//! What goes back: a GraphQL answer, its media type, and the headers that every answer has.

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

/// Large bodies are sent in parts of this size.
const PART_BYTES: usize = 64 * 1024;

/// Errors that the resolvers did not make are the document's fault; the first of them is told.
pub(super) fn redact_errors(mut response: GraphqlResponse) -> GraphqlResponse {
    let (ours, foreign): (Vec<_>, Vec<_>) = response
        .errors
        .into_iter()
        .partition(|error| code(error).is_some());
    response.errors = ours;
    if let Some(first) = foreign.first() {
        response
            .errors
            .insert(0, error_text::validation_failed(first));
    }
    response
}

/// A GraphQL answer. A request error has no `data`, and is an HTTP error only for those who asked
/// for `application/graphql-response+json`: older clients read the body of a 200 only.
pub(super) fn answer(
    mut response: GraphqlResponse,
    share: Option<Share>,
    media: &'static str,
    log: &RequestLog,
) -> Response {
    for error in &mut response.errors {
        log.name(error);
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
    let body = body.unwrap_or_default();
    match share {
        Some(share) => with_headers(status, media, in_parts(body, share)),
        None => respond(status, media, body),
    }
}

/// A large body, part by part, which keeps its share of the memory until its last part is taken.
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

/// `length`: where the body itself does not know it.
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
    // Answers are about one bearer's Space.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
