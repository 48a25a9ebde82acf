//! The parts of an HTTP request that are parsed besides the document: by its first byte a body, a
//! query string, an `Accept` header or a cursor. The media type that a header leads to is one that it
//! accepts, and a cursor is base64 without padding.
#![no_main]

use gateway::http::parsers;
use libfuzzer_sys::fuzz_target;

const JSON: &str = "application/json";
/// The media types that the gateway answers with.
const OFFERED: [&str; 2] = [JSON, "application/graphql-response+json"];
/// Weights that refuse a media type, as HTTP writes them. The gateway knows `q` in lower case only.
const REFUSALS: [&str; 5] = ["q=0", "q=0.", "q=0.0", "q=0.00", "q=0.000"];

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let text = || std::str::from_utf8(rest).unwrap_or_default();
    match first % 4 {
        0 => drop(parsers::request(rest)),
        1 => drop(parsers::query_string(text())),
        2 => check_accept(rest, parsers::accept(rest)),
        _ => assert!(!parsers::cursor(text()) || !rest.contains(&b'=')),
    }
});

/// Compares the media type that was chosen with the header: it is offered, and one of the header's
/// wishes accepts it. A header is refused only if no wish names an offered type without parameters.
fn check_accept(header: &[u8], chosen: Option<&'static str>) {
    let is_plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    if !header.iter().all(is_plain) {
        assert_eq!(chosen, None, "the header is no text");
        return;
    }
    let text = std::str::from_utf8(header).unwrap_or_default();
    let has_no_wish = text.trim().is_empty();
    let mut wishes = text.split(',');
    match chosen {
        Some(media) if has_no_wish => assert_eq!(media, JSON),
        Some(media) => {
            assert!(OFFERED.contains(&media), "{media} is not offered");
            let is_accepted = wishes.any(|wish| accepts(wish, media));
            assert!(is_accepted, "{media} for {text:?}");
        }
        None => {
            let names_one = |wish: &str| OFFERED.iter().any(|media| covers(wish.trim(), media));
            assert!(
                !has_no_wish && !wishes.any(names_one),
                "{text:?} is refused"
            );
        }
    }
}

/// Whether one wish of a header covers a media type and does not refuse it.
fn accepts(wish: &str, media: &str) -> bool {
    let mut parts = wish.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    covers(range, media) && !parts.any(|parameter| REFUSALS.contains(&parameter))
}

/// Whether a media range, without parameters, covers a media type.
fn covers(range: &str, media: &str) -> bool {
    let names = [media, "application/*", "*/*"];
    names.iter().any(|name| range.eq_ignore_ascii_case(name))
}
