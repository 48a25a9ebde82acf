//! GraphiQL at `/`, for developers, with the headers of requests filled in. All files are served by the
//! gateway, so the page needs no internet access.

use std::{fs, path::Path, time::Duration};

use axum::body::Bytes;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{CSS, File, HTML, JAVASCRIPT, NO_STORE, Page};
use crate::auth::{KeySource, dev_token};

/// The Space of the published sample, so that the sample works without a change.
pub const SPACE: &str = "796eeeb4-1b2f-4965-898a-7e443";
/// The published sample.
pub const SAMPLE: &str = include_str!("../../../graphiql/sample.graphql");
/// The npm packages with the files below. Browsers can load the files of these versions without a build
/// step.
pub const PACKAGES: [&str; 3] = ["graphiql@4.1.2", "react@18.3.1", "react-dom@18.3.1"];
/// Name, path in the directory of the packages, and media type of each file.
const FILES: [(&str, &str, &str); 4] = [
    ("graphiql.css", "graphiql/graphiql.min.css", CSS),
    ("react.js", "react/umd/react.production.min.js", JAVASCRIPT),
    (
        "react-dom.js",
        "react-dom/umd/react-dom.production.min.js",
        JAVASCRIPT,
    ),
    ("graphiql.js", "graphiql/graphiql.min.js", JAVASCRIPT),
];
const TOKEN_LIFETIME: Duration = Duration::from_hours(24);
/// Allows only resources of this origin, and inline styles, which GraphiQL's editor needs.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PAGE: &str = include_str!("../../../graphiql/page.html");
const SCRIPT: &str = include_str!("../../../graphiql/page.js");
const MISSING: &str = include_str!("../../../graphiql/missing.html");

/// The page with its files from a directory. If the files are missing, the page says how to get them.
///
/// # Errors
/// The token can't be created.
pub fn page(folder: Option<&Path>, keys: &KeySource) -> anyhow::Result<Page> {
    let read = |(name, path, media_type)| {
        let content = fs::read(folder?.join(path)).ok()?;
        Some(file(&format!("/graphiql/{name}"), media_type, content))
    };
    let files = match FILES.into_iter().map(read).collect::<Option<Vec<_>>>() {
        None => vec![file("/", HTML, MISSING)],
        Some(mut files) => {
            let mut headers = json!({ "SPACE_GUID": SPACE });
            if let KeySource::Shared(secret) = keys {
                let token =
                    dev_token::sign(secret.expose_secret(), SPACE, "developer", TOKEN_LIFETIME)?;
                headers["Authorization"] = format!("Bearer {token}").into();
            }
            let filled_in = json!({ "headers": headers, "query": SAMPLE });
            let script = format!("const filledIn = {filled_in};\n{SCRIPT}");
            files.push(file("/graphiql/page.js", JAVASCRIPT, script));
            files.push(file("/", HTML, PAGE));
            files
        }
    };
    Ok(Page {
        files,
        policy: POLICY,
        cache_control: NO_STORE,
    })
}

fn file(path: &str, media_type: &'static str, content: impl Into<Bytes>) -> File {
    File {
        path: path.to_owned(),
        media_type,
        content: content.into(),
    }
}
