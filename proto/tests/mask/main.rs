//! The laws of masking, for random details and random secrets.

mod strategies;

use proptest::{collection::vec, prelude::*, sample::select};
use proto::{
    ClientId, ClientSecret, MASK, OauthConnectorDetails,
    masking::{PAIR_NAME_KEYS, PAIR_VALUE_KEYS, PLATFORM_MASKS},
};
use serde_json::{Value, json};

use self::strategies::{names, object, quoted, secret, secret_and_text, space, written};

fn mask(text: &str, secret: &str) -> Result<String, TestCaseError> {
    masked(text, secret).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))
}

fn masked(text: &str, secret: &str) -> Result<String, String> {
    let secret = ClientSecret::new(secret).map_err(|error| error.message)?;
    let client_id = ClientId::new("the client").ok();
    OauthConnectorDetails::new(text, &secret, client_id.as_ref())
        .map(|details| details.as_str().to_owned())
        .map_err(|errors| format!("{errors:?}"))
}

/// A JSON text with the content of its string values removed.
fn without_strings(text: &str) -> String {
    let mut rest = text;
    let mut left = String::new();
    while let Some(start) = rest.find('"') {
        let mut end = start + 1;
        while !rest[end..].starts_with('"') {
            end += if rest[end..].starts_with('\\') { 2 } else { 1 };
            while !rest.is_char_boundary(end) {
                end += 1;
            }
        }
        left += &rest[..=start];
        if rest[end + 1..].trim_start().starts_with(':') {
            left += &rest[start + 1..end];
        }
        left.push('"');
        rest = &rest[end + 1..];
    }
    left + rest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn details_without_a_secret_are_kept_byte_for_byte(text in object()) {
        prop_assert_eq!(mask(&text, "s3cret-and-nowhere-else")?, text);
    }

    #[test]
    fn a_value_under_the_name_of_a_secret_is_masked(
        (name, quoted_name) in select(names()).prop_flat_map(|name| {
            (Just(name.clone()), quoted(name))
        }),
        first in select(PAIR_NAME_KEYS.to_vec()),
        second in select(PAIR_VALUE_KEYS.to_vec()),
        (value, quoted_value) in secret().prop_flat_map(|value| (Just(value.clone()), quoted(value))),
        around in object(),
    ) {
        for text in [
            format!(r#"{{{quoted_name}:{quoted_value},"a":{around}}}"#),
            format!(r#"{{"authParams":{{"a":[[{{"b":{around},{quoted_name} : {quoted_value}}}]]}}}}"#),
            format!(r#"{{"a":[{{"{first}":{quoted_name},"{second}":{quoted_value}}}],"b":{around}}}"#),
            format!(r#"{{"a":[{{"{second}":{quoted_value},"{first}":{quoted_name}}}],"b":{around}}}"#),
        ] {
            let masked = mask(&text, "another secret of the client")?;
            let expected = text.replacen(&quoted_value, &json!(MASK).to_string(), 1);
            // Only the first occurrence is a secret. `around` may contain the same text by chance.
            prop_assert_eq!(&masked, &expected, "{} {}", name, value);
            prop_assert_eq!(mask(&masked, "another secret of the client")?, masked);
        }
    }

    #[test]
    fn the_submitted_secret_is_masked_under_searched_keys(
        (secret, quoted_secret) in secret().prop_flat_map(|secret| {
            let inside = format!("Bearer {secret}!");
            (Just(secret), quoted(inside))
        }),
        around in object(),
    ) {
        let text = format!(
            r#"{{"authParams":{{"a":{quoted_secret}}},"mine":[{quoted_secret}],"b":{around}}}"#
        );
        let masked = mask(&text, &secret)?;
        let value: Value = serde_json::from_str(&masked)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;

        prop_assert_eq!(&value["authParams"]["a"], &json!(format!("Bearer {MASK}!")));
        prop_assert_eq!(&value["mine"], &json!([format!("Bearer {MASK}!")]));
    }

    /// The delimiters of the syntax are percent-encoded in these values.
    #[test]
    fn a_secret_in_a_url_a_form_or_a_connection_string_is_masked(
        name in select(names()),
        value in "[a-zA-Z0-9%+/@:._~-]{1,20}",
        (before, after) in select(vec![
            ("https://host/path?page=1&", "&x=2#top"),
            ("https://host/path#", ""),
            ("see https://host/path?", " and more"),
            ("grant_type=client_credentials&", "&scope=read"),
            ("", "&grant_type=client_credentials"),
            ("Server=x;User Id=sa;", ";"),
            ("Server=x;", ";User Id=sa"),
            ("Server=x; ", " ; User Id=sa"),
            ("jdbc:sqlserver://host:1433;user=u;", ";encrypt=true"),
            ("jdbc:mysql://host/db?user=u&", ""),
        ]),
        escape in any::<bool>(),
    ) {
        prop_assume!(before != "see https://host/path?" || !name.contains(' '));
        let name = if escape { name.replace(['_', '-'], "%5F") } else { name };
        let text = json!({ "a": format!("{before}{name}={value}{after}") }).to_string();
        let expected = json!({ "a": format!("{before}{name}={MASK}{after}") }).to_string();

        let masked = mask(&text, "another secret of the client")?;
        prop_assert_eq!(&masked, &expected);
        prop_assert_eq!(mask(&masked, "another secret of the client")?, expected);
        for kept in PLATFORM_MASKS {
            let text = json!({ "a": format!("{before}{name}={kept}{after}") }).to_string();
            prop_assert_eq!(mask(&text, "another secret of the client")?, text);
        }
    }

    #[test]
    fn the_submitted_secret_is_masked_in_each_of_its_forms(
        secret in "[a-zA-Z0-9/+=&%é][a-zA-Z0-9/+=&% é\n]{6,30}[a-zA-Z0-9/+=&%é]",
        forms in vec((0..5_usize, any::<u64>()), 1..4),
        around in "[ !.,-]{1,3}",
        spaces in space(),
    ) {
        prop_assume!(!MASK.contains(secret.as_str()));
        let forms: Vec<_> = forms.into_iter().map(|(form, at)| written(&secret, form, at)).collect();
        let text = format!("{around}{}{around}", forms.join(&around));
        let text = json!({ "authParams": { "a": text } }).to_string();

        let masked = mask(&text, &format!("{spaces}{secret}{spaces}"))?;

        let value: Value = serde_json::from_str(&masked).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let left = value["authParams"]["a"].as_str().unwrap_or_default().replace(MASK, "");
        let left: String = left.chars().filter(|c| !around.contains(*c)).collect();
        prop_assert_eq!(left, "", "{}", masked);
    }

    #[test]
    fn masking_twice_is_masking_once(
        (secret, text) in secret_and_text(),
        key in select(vec!["a", "authorization", "key", "password", "baseURI", "authParams2"]),
        pair in select(vec!["x", "password", "Authorization", "client secret"]),
    ) {
        prop_assume!(!secret.trim().is_empty());
        let text = json!({ "authParams": { key: text, "name": pair, "value": text }, "x": [text, MASK] }).to_string();
        let once = mask(&text, &secret)?;

        prop_assert_eq!(mask(&once, &secret)?, once.clone());
        prop_assert_eq!(mask(&once, MASK)?, once);
    }

    /// Only the content of string values is replaced. Keys, numbers and white space stay.
    #[test]
    fn everything_but_string_values_is_kept((secret, text) in secret_and_text(), around in object()) {
        prop_assume!(!secret.trim().is_empty());
        let quoted = json!(text).to_string();
        let text = format!(r#"{{"a":{quoted}, "password" : {quoted},"b":{around},"name":"pwd","value":{quoted}}}"#);
        let masked = mask(&text, &secret)?;

        prop_assert_eq!(without_strings(&masked), without_strings(&text));
        let is_json = serde_json::from_str::<Value>(&masked).is_ok();
        prop_assert!(is_json, "{}", masked);
    }
}

#[test]
fn a_short_secret_masks_no_other_text() -> Result<(), String> {
    let sample =
        r#"{"baseURL":"https://baseURL.com","clientId":"A","authParams":{"key":"A value"}}"#;

    for secret in ["A", "value", MASK, "the client"] {
        assert_eq!(masked(sample, secret)?, sample);
    }
    Ok(())
}

#[test]
fn the_submitted_secret_is_not_masked_under_shown_keys() -> Result<(), String> {
    let text = r#"{"companyId":"9341452451293689","clientId":"9341452451293689","baseURL":"https://9341452451293689.com"}"#;

    assert_eq!(masked(text, "9341452451293689")?, text);
    Ok(())
}

#[test]
fn only_non_empty_strings_are_replaced() -> Result<(), String> {
    let text =
        r#"{"secret":"","password":null,"apiKey":5,"accessToken":{"a":"b"},"idToken":["c"]}"#;

    assert_eq!(masked(text, "s3cret-s3cret")?, text);
    Ok(())
}

#[test]
fn secrets_in_urls_are_replaced_in_place() -> Result<(), String> {
    let text = r#"{"baseURL":"https:\/\/me:p\u0061ss@host\/?a=1&client%5Fsecret=x&b=2","x":"see https://a:b@c now"}"#;

    let expected = r#"{"baseURL":"https:\/\/me:MASK@host\/?a=1&client%5Fsecret=MASK&b=2","x":"see https://a:MASK@c now"}"#;
    assert_eq!(
        masked(text, "s3cret-s3cret")?,
        expected.replace("MASK", MASK)
    );
    Ok(())
}

#[test]
fn details_that_are_too_long_after_masking_are_refused() {
    let many = r#""apiKey":"x","#.repeat(64 * 1024 / 13 - 1);

    assert!(masked(&format!("{{{many}\"a\":1}}"), "s3cret-s3cret").is_err());
}
