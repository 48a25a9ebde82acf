//! What reads bytes of a stranger and is private otherwise, for the fuzz targets in `tests/fuzz`.

use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

use crate::{graphql::schema, http};

/// The media type that an `Accept` header leads to; none where it is refused.
#[must_use]
pub fn accept(value: &[u8]) -> Option<&'static str> {
    let value = HeaderValue::from_bytes(value).ok()?;
    http::media_type(&HeaderMap::from_iter([(ACCEPT, value)]))
}

/// Whether a text is a cursor of a page of records, or of a page of changes.
#[must_use]
pub fn cursor(text: &str) -> bool {
    schema::is_cursor(text)
}

/// The document of a request's body, if the body is one request.
#[must_use]
pub fn request(body: &[u8]) -> Option<String> {
    http::query_of(body)
}

/// The document of a query string, if that is one request.
#[must_use]
pub fn query_string(query: &str) -> Option<String> {
    http::query_of_uri(query)
}
