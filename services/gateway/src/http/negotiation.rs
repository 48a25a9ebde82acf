//! What the client sends and what it wants to get back.

use axum::http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{
    media::{GRAPHQL_JSON, JSON},
    rejection::Rejection,
};

/// Whether the body says that it is JSON. It is not only about parsing: a web page can make a
/// browser send any other type to us, and this one only with our leave.
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

/// The media type of the answer: the first that the client names and the gateway has, and
/// `application/json` where the client has no wish.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<&'static str, Rejection> {
    let mut wishes = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|wish| !refuses(wish))
        .map(|wish| {
            wish.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        })
        .filter(|wish| !wish.is_empty())
        .peekable();
    if wishes.peek().is_none() {
        return if headers.contains_key(ACCEPT) && !accepts_anything(headers) {
            Err(Rejection::not_acceptable())
        } else {
            Ok(JSON)
        };
    }
    wishes
        .find_map(|wish| match wish.as_str() {
            GRAPHQL_JSON => Some(GRAPHQL_JSON),
            JSON | "application/*" | "*/*" => Some(JSON),
            _ => None,
        })
        .ok_or_else(Rejection::not_acceptable)
}

fn refuses(wish: &str) -> bool {
    wish.split(';').skip(1).any(|parameter| {
        // Names of parameters have no case: RFC 9110, 5.6.6.
        parameter
            .split_once('=')
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .and_then(|(_, q)| q.trim().parse::<f32>().ok())
            .is_some_and(|q| q <= 0.0)
    })
}

fn accepts_anything(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_zero_refuses_a_type_however_it_is_spelled() {
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
}
