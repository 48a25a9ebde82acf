//! GraphQL over HTTP: everything between the connection and the schema.

mod access_log;
mod cors;
mod graphql;
mod health;
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

/// The media type of the answer; `None` if the gateway supports none that the client accepts.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&'static str> {
    negotiate(headers).ok()
}

/// The document in the body of a request, if the body is one valid request.
pub(crate) fn query_of(body: &[u8]) -> Option<String> {
    Params::of_body(body).ok().map(|params| params.query)
}

/// The document in a query string, if it is one valid request.
pub(crate) fn query_of_uri(query: &str) -> Option<String> {
    Params::of_query(query).ok().map(|params| params.query)
}

/// All routes of the gateway. Scripts of `origins` may use the API, and `pages` are served to browsers.
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
