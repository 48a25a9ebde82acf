//! Unit tests of the checks on tokens and headers.

use axum::http::HeaderValue;
use serde_json::json;

use super::*;

fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values.iter().copied() {
        headers.append(name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn a_token_is_sent_once_and_with_the_bearer_scheme() {
    let of =
        |values: &[(&'static str, &'static str)]| token(&headers(values)).map(ToOwned::to_owned);
    assert_eq!(
        of(&[("authorization", "bEARER  a.b.c ")]),
        Ok("a.b.c".to_owned())
    );
    let rejected: [&[(&str, &str)]; 2] = [&[], &[("authorization", "a.b.c")]];
    for values in rejected {
        assert!(matches!(of(values), Err(AuthError::Unauthenticated(_))));
    }
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
    assert!(matches!(of(&twice), Err(AuthError::BadRequest(_))));
}

#[test]
fn the_space_header_has_two_names_and_one_value() {
    let of = |values: &[(&'static str, &'static str)]| {
        space(&headers(values)).map(|space| space.as_str().to_owned())
    };
    for name in SPACE_HEADERS {
        assert_eq!(of(&[(name, "a")]), Ok("a".to_owned()));
    }
    let rejected: [&[(&str, &str)]; 3] = [
        &[],
        &[("space_guid", "")],
        &[("space_guid", "a"), ("space-guid", "a")],
    ];
    for values in rejected {
        assert!(matches!(of(values), Err(AuthError::BadRequest(_))));
    }
}

#[test]
fn the_spaces_claim_is_a_list_or_a_single_string() {
    assert_eq!(spaces(Some(&json!(["a", 7, "b"]))), ["a", "b"]);
    assert_eq!(spaces(Some(&json!("a"))), ["a"]);
    assert!(spaces(Some(&json!({ "a": "b" }))).is_empty());
    assert!(spaces(None).is_empty());
}

#[test]
fn a_subject_is_not_blank_and_fits_into_a_property() {
    let of = |value: Value| {
        let claims = json!({ "sub": value });
        claims.as_object().is_some_and(|it| subject(it).is_ok())
    };
    assert!(of(json!("anna")));
    for rejected in [
        json!(null),
        json!(7),
        json!(" "),
        json!("a\nb"),
        json!("a".repeat(MAX_SUBJECT_BYTES + 1)),
    ] {
        assert!(!of(rejected.clone()), "{rejected}");
    }
}

#[test]
fn a_date_may_have_a_fraction_and_is_rounded_down() {
    assert_eq!(seconds(&json!(4_102_444_800_u64)), Some(4_102_444_800));
    assert_eq!(seconds(&json!(4_102_444_800.75)), Some(4_102_444_800));
    assert_eq!(seconds(&json!(u64::MAX)), Some(u64::MAX));
    for rejected in [json!(-1), json!(-0.5), json!(1e30), json!("7"), json!(null)] {
        assert_eq!(seconds(&rejected), None, "{rejected}");
    }
}
