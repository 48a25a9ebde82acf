//! GraphQL over HTTP, strictly: what is negotiated, refused and answered before and after the
//! schema has its turn.

mod answer;
mod cors;
mod graphql;
mod media;
mod negotiation;
mod observed;
mod params;
mod prepare;
mod receive;
mod refused;
mod request_id;
mod sockets;
mod streams;

use std::sync::Arc;

use axum::{Router, http::HeaderMap};

pub use self::cors::Origin;
use self::{negotiation::negotiate, params::Params};
use crate::{
    app::App,
    health,
    pages::{self, Page},
};

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
        .merge(streams::router())
        .merge(sockets::router());
    let routes = cors::allow(api, origins)
        .merge(health::router())
        .with_state(app);
    let pages = pages.into_iter().map(pages::router);
    pages.fold(routes, Router::merge)
}
