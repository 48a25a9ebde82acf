//! Checks `Content-Type`, and chooses the media type of the answer from `Accept`.

use axum::http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{
    media::{GRAPHQL_JSON, JSON},
    rejection::Rejection,
};

/// Whether the body is declared as JSON. This also protects against requests from other web pages:
/// browsers send `application/json` to another origin only if its CORS headers allow it.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &HeaderValue| {
        let text = value.to_str().ok()?;
        let mut parts = text.split(';').map(str::trim);
        let json = parts.next()?.eq_ignore_ascii_case(JSON);
        let utf8 = parts.all(|parameter| {
            !parameter.to_ascii_lowercase().starts_with("charset=")
                || parameter["charset=".len()..]
                    .trim_matches('"')
                    .eq_ignore_ascii_case("utf-8")
        });
        Some(json && utf8)
    };
    headers.get(CONTENT_TYPE).and_then(essence).unwrap_or(false)
}

/// The media type of the answer: the first in `Accept` that the gateway supports, and
/// `application/json` without an `Accept` header.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<&'static str, Rejection> {
    let mut accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|range| !has_zero_weight(range))
        .map(|range| {
            let (essence, _) = range.split_once(';').unwrap_or((range, ""));
            essence.trim().to_ascii_lowercase()
        })
        .filter(|range| !range.is_empty())
        .peekable();
    if accepted.peek().is_none() {
        return if headers.contains_key(ACCEPT) && !is_empty(headers) {
            Err(Rejection::not_acceptable())
        } else {
            Ok(JSON)
        };
    }
    accepted
        .find_map(|range| match range.as_str() {
            GRAPHQL_JSON => Some(GRAPHQL_JSON),
            JSON | "application/*" | "*/*" => Some(JSON),
            _ => None,
        })
        .ok_or_else(Rejection::not_acceptable)
}

fn has_zero_weight(range: &str) -> bool {
    range.split(';').skip(1).any(|parameter| {
        // The names of parameters are case-insensitive: RFC 9110, 5.6.6.
        parameter
            .split_once('=')
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .and_then(|(_, q)| q.trim().parse::<f32>().ok())
            .is_some_and(|q| q <= 0.0)
    })
}

fn is_empty(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_excludes_a_media_type_however_it_is_written() {
        let chosen = |accept| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            negotiate(&headers).ok()
        };
        for weight in [";q=0", ";Q=0", "; q=0.000", "; charset=utf-8; q=0"] {
            let accept = format!("{GRAPHQL_JSON}{weight}, {JSON}");
            let headers =
                HeaderValue::try_from(accept).map(|it| HeaderMap::from_iter([(ACCEPT, it)]));
            let chosen = headers.map(|headers| negotiate(&headers).ok());
            assert_eq!(chosen.ok(), Some(Some(JSON)), "{weight}");
        }
        assert_eq!(chosen("application/json;Q=0"), None);
        assert_eq!(
            chosen("application/graphql-response+json;q=0.5"),
            Some(GRAPHQL_JSON)
        );
    }

    #[test]
    fn the_first_supported_media_type_is_chosen() {
        let chosen = |accept| {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            negotiate(&headers).ok()
        };
        assert_eq!(negotiate(&HeaderMap::new()).ok(), Some(JSON));
        for (accept, expected) in [
            ("", Some(JSON)),
            ("*/*", Some(JSON)),
            ("text/html, application/*;q=0.1", Some(JSON)),
            (
                "application/graphql-response+json, application/json",
                Some(GRAPHQL_JSON),
            ),
            ("text/html", None),
            ("image/*, */*;q=0", None),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }

    #[test]
    fn only_a_json_body_in_utf_8_is_accepted() {
        let is_json = |content_type| {
            let value = HeaderValue::from_static(content_type);
            is_json(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
        };
        for accepted in [
            "application/json",
            "Application/JSON; Charset=\"UTF-8\"",
            "application/json; profile=x",
        ] {
            assert!(is_json(accepted), "{accepted}");
        }
        for rejected in [
            "text/plain",
            "application/json; charset=utf-16",
            "application/jsonp",
            "",
        ] {
            assert!(!is_json(rejected), "{rejected}");
        }
        assert!(!super::is_json(&HeaderMap::new()));
    }
}
