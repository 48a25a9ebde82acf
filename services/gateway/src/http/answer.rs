//! What goes back: a GraphQL answer, its media type, and the headers that every answer has.

use async_graphql::Response as GraphqlResponse;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};

use super::{
    negotiation::{GRAPHQL_JSON, JSON},
    observed::Observed,
};
use crate::{failure::code, validation};

/// Errors that the resolvers did not make are the document's fault; the first of them is told.
pub(super) fn in_our_words(mut response: GraphqlResponse) -> GraphqlResponse {
    let (ours, foreign): (Vec<_>, Vec<_>) = response
        .errors
        .into_iter()
        .partition(|error| code(error).is_some());
    response.errors = ours;
    if let Some(first) = foreign.first() {
        response
            .errors
            .insert(0, validation::validation_failed(first));
    }
    response
}

/// A GraphQL answer. A request error has no `data`, and is an HTTP error only for those who asked
/// for `application/graphql-response+json`: older clients read the body of a 200 only.
pub(super) fn answer(
    mut response: GraphqlResponse,
    media: &'static str,
    observed: &Observed,
) -> Response {
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        extensions.set("requestId", observed.id.as_str());
        extensions.set("traceId", observed.trace_id.as_str());
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
    respond(status, media, body.unwrap_or_default())
}

pub(super) fn respond(status: StatusCode, media: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = if media == JSON {
        "application/json; charset=utf-8"
    } else {
        "application/graphql-response+json; charset=utf-8"
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Answers are about one bearer's Space.
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
