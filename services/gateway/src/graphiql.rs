//! GraphiQL at `/`, for developers: with the headers filled in, and served from files on this
//! machine alone, so that it works without the internet.

use std::{fs, path::Path, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{Html, IntoResponse},
    routing::get,
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{auth::KeySource, token};

/// The Space of the published sample, so that the sample works as it stands.
pub const SPACE: &str = "796eeeb4-1b2f-4965-898a-7e443";
/// The published sample.
pub const SAMPLE: &str = include_str!("graphiql/sample.graphql");
/// The packages of the files below, in versions whose files browsers can load as they are.
pub const PACKAGES: [&str; 3] = ["graphiql@4.1.2", "react@18.3.1", "react-dom@18.3.1"];
/// Files of these packages, by where they lie in a folder with the packages in it.
const FILES: [(&str, &str, &str); 4] = [
    ("graphiql.css", "graphiql/graphiql.min.css", "text/css"),
    (
        "react.js",
        "react/umd/react.production.min.js",
        "text/javascript",
    ),
    (
        "react-dom.js",
        "react-dom/umd/react-dom.production.min.js",
        "text/javascript",
    ),
    ("graphiql.js", "graphiql/graphiql.min.js", "text/javascript"),
];
const A_DAY: Duration = Duration::from_hours(24);
/// Everything from here, and nothing from anywhere else. The editor styles its lines inline.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = include_str!("graphiql/page.html");
const SCRIPT: &str = include_str!("graphiql/page.js");
const MISSING: &str = include_str!("graphiql/missing.html");

/// The page and its files.
#[derive(Debug)]
pub struct Graphiql {
    page: &'static str,
    files: Vec<(&'static str, &'static str, Bytes)>,
}

impl Graphiql {
    /// Reads the files. Without them, the page says how to get them.
    ///
    /// # Errors
    /// No token can be made.
    pub fn load(folder: Option<&Path>, keys: &KeySource) -> anyhow::Result<Self> {
        let read = |(name, path, kind)| {
            let content = fs::read(folder?.join(path)).ok()?;
            Some((name, kind, Bytes::from(content)))
        };
        let Some(mut files) = FILES.into_iter().map(read).collect::<Option<Vec<_>>>() else {
            return Ok(Self {
                page: MISSING,
                files: Vec::new(),
            });
        };
        let mut headers = json!({ "SPACE_GUID": SPACE });
        if let KeySource::Shared(secret) = keys {
            let token = token::sign(secret.expose_secret(), SPACE, "developer", A_DAY)?;
            headers["Authorization"] = format!("Bearer {token}").into();
        }
        let filled_in = json!({ "headers": headers, "query": SAMPLE });
        let script = format!("const filledIn = {filled_in};\n{SCRIPT}");
        files.push(("page.js", "text/javascript", script.into()));
        Ok(Self { page: PAGE, files })
    }
}

/// The page's routes.
pub(crate) fn router(graphiql: Graphiql) -> Router {
    let page = graphiql.page;
    let policy = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
    ];
    let mut routes = Router::new().route("/", get(move || async move { (policy, Html(page)) }));
    for (name, kind, content) in graphiql.files {
        let answer = move || async move {
            ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")], content).into_response()
        };
        routes = routes.route(&format!("/graphiql/{name}"), get(answer));
    }
    routes
}
