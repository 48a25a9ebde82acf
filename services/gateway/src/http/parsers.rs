//! Access to the private parsers of untrusted input, for the fuzz targets in `tests/fuzz`.

use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

use super::{negotiation::negotiate, params::Params};
use crate::graphql::pagination;

/// The media type that an `Accept` header selects; `None` if the gateway supports none of them.
#[must_use]
pub fn accept(value: &[u8]) -> Option<&'static str> {
    let value = HeaderValue::from_bytes(value).ok()?;
    negotiate(&HeaderMap::from_iter([(ACCEPT, value)])).ok()
}

/// Whether a text is a cursor of a page of records, or of a page of changes.
#[must_use]
pub fn cursor(text: &str) -> bool {
    pagination::is_cursor(text)
}

/// The document in the body of a request, if the body is one valid request.
#[must_use]
pub fn request(body: &[u8]) -> Option<String> {
    Params::of_body(body).ok().map(|params| params.query)
}

/// The document in a query string, if it is one valid request.
#[must_use]
pub fn query_string(query: &str) -> Option<String> {
    Params::of_query(query).ok().map(|params| params.query)
}
