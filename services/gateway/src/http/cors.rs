//! Cross-origin requests. Only scripts of the configured origins may send them.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{
        HeaderName, HeaderValue, Method,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
    },
};
use reqwest::Url;
use tower_http::cors::CorsLayer;

use super::request_id;
use crate::app::App;

/// How long a browser may cache the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The origin of a web page: scheme, host and port exactly as a browser writes them.
#[derive(Debug, Clone)]
pub struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_exact = Url::parse(text).is_ok_and(|url| {
            ["http", "https"].contains(&url.scheme()) && url.origin().ascii_serialization() == text
        });
        HeaderValue::from_str(text)
            .ok()
            .filter(|_| is_exact)
            .map(Self)
            .ok_or("must be an exact origin, such as https://app.example.com")
    }
}

/// Adds the CORS headers for these origins to the routes.
pub(super) fn allow(routes: Router<Arc<App>>, origins: &[Origin]) -> Router<Arc<App>> {
    if origins.is_empty() {
        return routes;
    }
    let headers = [
        AUTHORIZATION,
        CONTENT_TYPE,
        HeaderName::from_static("space_guid"),
        HeaderName::from_static("space-guid"),
        HeaderName::from_static("idempotency-key"),
        request_id::HEADER,
    ];
    routes.layer(
        CorsLayer::new()
            .allow_origin(
                origins
                    .iter()
                    .map(|origin| origin.0.clone())
                    .collect::<Vec<_>>(),
            )
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(headers)
            .expose_headers([request_id::HEADER, RETRY_AFTER])
            .max_age(MAX_AGE),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_exact() {
        for good in ["https://app.example.com", "http://localhost:3000"] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://app.example.com/",
            "https://app.example.com:443",
            "https://APP.example.com",
            "ftp://example.com",
            "app.example.com",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
