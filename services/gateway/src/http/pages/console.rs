//! `/console`: the page where a person configures a connector.
//!
//! Plain modules, served as they stand; the page works without the internet. What it has to know of
//! the service comes as a module too, so that it is written down once.

use proto::{MASK, masking};
use serde_json::json;

use super::{ASKED_AGAIN, CSS, File, HTML, JAVASCRIPT, Page};

/// Everything from here, no markup made of text, and in no frame.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
    style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        [$((concat!("/console/", $name), $kind, include_str!(concat!("../../../console/", $name)))),*]
    };
}

const FILES: [(&str, &str, &str); 19] = files![
    "console.css" CSS,
    "main.js" JAVASCRIPT,
    "api.js" JAVASCRIPT,
    "details.js" JAVASCRIPT,
    "dom.js" JAVASCRIPT,
    "drafts.js" JAVASCRIPT,
    "editor.js" JAVASCRIPT,
    "form.js" JAVASCRIPT,
    "history.js" JAVASCRIPT,
    "ids.js" JAVASCRIPT,
    "json.js" JAVASCRIPT,
    "list.js" JAVASCRIPT,
    "masking.js" JAVASCRIPT,
    "names.js" JAVASCRIPT,
    "params.js" JAVASCRIPT,
    "secrets.js" JAVASCRIPT,
    "session.js" JAVASCRIPT,
    "sought.js" JAVASCRIPT,
    "trip.js" JAVASCRIPT,
];

/// The page and its files. `spaces_claim` is the claim of a token that lists its Spaces.
#[must_use]
pub fn page(spaces_claim: &str) -> Page {
    let settings = json!({
        "spacesClaim": spaces_claim,
        "mask": MASK,
        "platformMasks": masking::PLATFORM_MASKS,
        "secretNames": masking::SECRET_NAMES,
        "pairNames": masking::PAIR_NAME_KEYS,
        "pairValues": masking::PAIR_VALUE_KEYS,
        "authorization": masking::AUTHORIZATION,
        "shortestSearched": masking::SHORTEST_SEARCHED_BYTES,
    });
    let settings = format!("export const settings = {settings};\n");
    let html = include_str!("../../../console/index.html");
    let mut files = vec![
        file("/console", HTML, html.to_owned()),
        file("/console/settings.js", JAVASCRIPT, settings),
    ];
    let written = FILES.map(|(path, kind, content)| file(path, kind, content.to_owned()));
    files.extend(written);
    Page {
        files,
        policy: POLICY,
        caching: ASKED_AGAIN,
    }
}

fn file(path: &str, kind: &'static str, content: String) -> File {
    File {
        path: path.to_owned(),
        kind,
        content: content.into(),
    }
}
