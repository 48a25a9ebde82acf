//! The web pages of the gateway. The Content-Security-Policy of each page allows no other origin.

pub mod console;
pub mod graphiql;

use axum::{
    Router,
    body::Bytes,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

/// The media type of HTML files.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// The media type of style sheets.
pub(crate) const CSS: &str = "text/css; charset=utf-8";
/// The media type of scripts.
pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// For files with a token in them: browsers must not store them.
pub(crate) const NO_STORE: &str = "no-store";
/// For all other files: browsers store them and revalidate them each time with the ETag.
pub(crate) const REVALIDATE: &str = "no-cache";

/// A file of a page.
#[derive(Debug, Clone)]
pub struct File {
    /// The URL path.
    pub path: String,
    /// The media type.
    pub media_type: &'static str,
    /// The bytes of the file.
    pub content: Bytes,
}

/// A page with its files.
#[derive(Debug, Clone)]
pub struct Page {
    /// The files, the HTML page included.
    pub files: Vec<File>,
    /// The Content-Security-Policy header.
    pub policy: &'static str,
    /// The Cache-Control header.
    pub cache_control: &'static str,
}

/// The page's routes.
pub(crate) fn router(page: Page) -> Router {
    let mut routes = Router::new();
    for file in page.files {
        let etag = etag(&file.content);
        let headers = [
            (CONTENT_TYPE, file.media_type),
            (CONTENT_SECURITY_POLICY, page.policy),
            (CACHE_CONTROL, page.cache_control),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        let answer =
            move |request: HeaderMap| async move { answer(&request, headers, &etag, file.content) };
        routes = routes.route(&file.path, get(answer));
    }
    routes
}

fn answer(
    request: &HeaderMap,
    headers: [(HeaderName, &'static str); 5],
    etag: &str,
    content: Bytes,
) -> Response {
    let is_cached = request
        .get(IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok())
        .is_some_and(|tags| tags.split(", ").any(|one| one == etag));
    let mut response = if is_cached {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, content).into_response()
    };
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

fn etag(content: &[u8]) -> String {
    format!("\"{}\"", BASE64_STANDARD.encode(Sha256::digest(content)))
}
