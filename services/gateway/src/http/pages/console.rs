//! `/console`: the page where a user configures a connector.
//!
//! The page consists of plain JavaScript modules without a build step, and needs no internet access.
//! The constants that it shares with the service are served as the module `settings.js`.

use proto::{MASK, masking};
use serde_json::json;

use super::{CSS, File, HTML, JAVASCRIPT, Page, REVALIDATE};

/// Allows only resources of this origin, no HTML from strings, and no embedding in a frame.
const POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'; \
    style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal $media_type:ident),* $(,)?) => {
        [$((concat!("/console/", $name), $media_type, include_str!(concat!("../../../console/", $name)))),*]
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
    "submit.js" JAVASCRIPT,
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
    files.extend(
        FILES.map(|(path, media_type, content)| file(path, media_type, content.to_owned())),
    );
    Page {
        files,
        policy: POLICY,
        cache_control: REVALIDATE,
    }
}

fn file(path: &str, media_type: &'static str, content: String) -> File {
    File {
        path: path.to_owned(),
        media_type,
        content: content.into(),
    }
}
