//! GraphQL over HTTP, strictly: what is negotiated, refused and answered before and after the
//! schema has its turn.

mod access_log;
mod cors;
mod graphql;
pub mod health;
mod media;
mod negotiation;
pub mod pages;
mod params;
mod prepare;
mod receive;
mod rejection;
mod request_id;
mod response;
mod sse;
mod websocket;

use std::sync::Arc;

use axum::{Router, http::HeaderMap};

pub use self::cors::Origin;
use self::{negotiation::negotiate, pages::Page, params::Params};
use crate::app::App;

/// The media type that a request is answered with; none where it is refused.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&'static str> {
    negotiate(headers).ok()
}

/// The document of a request's body, if the body is one request.
pub(crate) fn query_of(body: &[u8]) -> Option<String> {
    Params::of_body(body).ok().map(|params| params.query)
}

/// The document of a query string, if that is one request.
pub(crate) fn query_of_uri(query: &str) -> Option<String> {
    Params::of_query(query).ok().map(|params| params.query)
}

/// All of the gateway's routes: for scripts of these origins, too, and with pages for people.
pub fn router(app: Arc<App>, origins: &[Origin], pages: impl IntoIterator<Item = Page>) -> Router {
    let api = graphql::router()
        .merge(sse::router())
        .merge(websocket::router());
    let routes = cors::allow(api, origins)
        .merge(health::router())
        .with_state(app);
    let pages = pages.into_iter().map(pages::router);
    pages.fold(routes, Router::merge)
}
