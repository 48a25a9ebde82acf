//! Web pages that the gateway brings along, each with a policy that lets nothing in from elsewhere.

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

/// HTML.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// Styles.
pub(crate) const CSS: &str = "text/css; charset=utf-8";
/// Scripts.
pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Read again each time, and not kept: something in it is for one reader alone.
pub(crate) const NOT_KEPT: &str = "no-store";
/// Kept, and asked for again each time, which costs little where it is the same.
pub(crate) const ASKED_AGAIN: &str = "no-cache";

/// A file of a page.
#[derive(Debug, Clone)]
pub struct File {
    /// Where it is served.
    pub path: String,
    /// Its media type.
    pub kind: &'static str,
    /// What stands in it.
    pub content: Bytes,
}

/// A page with its files.
#[derive(Debug, Clone)]
pub struct Page {
    /// The page itself among them.
    pub files: Vec<File>,
    /// Its Content-Security-Policy.
    pub policy: &'static str,
    /// Its Cache-Control.
    pub caching: &'static str,
}

/// The page's routes.
pub(crate) fn router(page: Page) -> Router {
    let mut routes = Router::new();
    for file in page.files {
        let tag = tag(&file.content);
        let headers = [
            (CONTENT_TYPE, file.kind),
            (CONTENT_SECURITY_POLICY, page.policy),
            (CACHE_CONTROL, page.caching),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        let answer =
            move |asked: HeaderMap| async move { answer(&asked, headers, &tag, file.content) };
        routes = routes.route(&file.path, get(answer));
    }
    routes
}

fn answer(
    asked: &HeaderMap,
    headers: [(HeaderName, &'static str); 5],
    tag: &str,
    content: Bytes,
) -> Response {
    let is_kept = asked
        .get(IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok())
        .is_some_and(|tags| tags.split(", ").any(|one| one == tag));
    let mut response = if is_kept {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, content).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn tag(content: &[u8]) -> String {
    format!("\"{}\"", BASE64_STANDARD.encode(Sha256::digest(content)))
}
