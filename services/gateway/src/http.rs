//! GraphQL over HTTP: everything between the connection and the schema.

mod access_log;
mod cors;
mod graphql;
mod health;
mod media;
mod negotiation;
pub mod pages;
mod params;
pub mod parsers;
mod prepare;
mod receive;
mod rejection;
mod request_id;
mod response;
mod sse;
mod websocket;

use std::sync::Arc;

use axum::Router;

pub use self::cors::Origin;
use self::pages::Page;
use crate::app::App;

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
