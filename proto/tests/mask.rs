//! The laws of masking, for whatever JSON and whatever secret.

use std::fmt::Write as _;

use proptest::{collection::vec, prelude::*};
use proto::{ClientId, ClientSecret, MASK, OauthConnectorDetails};
use serde_json::{Value, json};

const NAMES: [&str; 14] = [
    "clientSecret",
    "client_secret",
    "CLIENT-SECRET",
    "secret",
    "Password",
    "passwd",
    "private.key",
    "clientAssertion",
    "access_token",
    "refreshToken",
    "id_token",
    "api_key",
    "API Key",
    "apikey",
];

fn mask(text: &str, secret: &str) -> Result<String, TestCaseError> {
    masked(text, secret).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))
}

fn masked(text: &str, secret: &str) -> Result<String, String> {
    let secret = ClientSecret::new(secret).map_err(|fault| fault.message)?;
    let client_id = ClientId::new("the client").ok();
    OauthConnectorDetails::new(text, &secret, client_id.as_ref())
        .map(|details| details.as_str().to_owned())
        .map_err(|faults| format!("{faults:?}"))
}

/// A key or text that names no secret and holds none.
fn harmless() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~é€😀]{0,12}",
        Just("accessTokenParamsX".to_owned()),
        Just("tokenUrl".to_owned()),
        Just("tokenType".to_owned()),
        Just("secrets".to_owned()),
        Just("\\\"\n\u{1}".to_owned()),
        Just("https://host:80/path?page=1#top".to_owned()),
    ]
    .prop_filter("is a URL with a secret, or a secret's name", |text| {
        !text.contains("://") || text.starts_with("https://host:80")
    })
    .prop_filter("a named key has a type", |text| {
        ![
            "baseURL",
            "companyId",
            "clientId",
            "authParams",
            "accessTokenParams",
        ]
        .contains(&text.as_str())
    })
    .prop_filter("names a secret", |text| {
        let plain: String = text
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        !["key", "name", "value"].contains(&plain.as_str())
            && !NAMES.iter().any(|name| {
                let name: String = name
                    .to_lowercase()
                    .chars()
                    .filter(|c| c.is_alphanumeric())
                    .collect();
                name == plain
            })
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1.50".to_owned()),
        Just("-0".to_owned()),
        Just("1.5E+10".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" "), Just("\n\t"), Just(" \r\n ")]
}

/// A JSON string, with its characters escaped at random.
fn quoted(text: String) -> impl Strategy<Value = String> {
    vec(any::<bool>(), text.chars().count()).prop_map(move |escape| {
        let mut quoted = String::from('"');
        for (c, escape) in text.chars().zip(escape) {
            let plain = Value::from(c.to_string()).to_string();
            if escape {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            } else {
                quoted += &plain[1..plain.len() - 1];
            }
        }
        quoted + "\""
    })
}

/// The text of a JSON object without any secret: odd white space, escapes, duplicate keys.
fn object() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![harmless().prop_flat_map(quoted), number()].boxed();
    let value = leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            (space(), vec(inner.clone(), 0..5)).prop_map(|(space, items)| {
                format!(
                    "[{space}{}{space}]",
                    items.join(&format!("{space},{space}"))
                )
            }),
            members(inner),
        ]
    });
    members(value)
}

fn members(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (
        space(),
        vec((harmless().prop_flat_map(quoted), value), 0..5),
    )
        .prop_map(|(space, members)| {
            let members: Vec<_> = members
                .into_iter()
                .map(|(key, value)| format!("{key}{space}:{space}{value}"))
                .collect();
            format!("{{{space}{}{space}}}", members.join(&format!("{space},")))
        })
}

fn secret() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/+=\"\\\\é]{8,40}".prop_filter("is part of the mask", |secret| {
        !MASK.contains(secret.as_str()) && !secret.trim().is_empty()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_holds_no_secret_stays_byte_for_byte(text in object()) {
        prop_assert_eq!(mask(&text, "s3cret-and-nowhere-else")?, text);
    }

    #[test]
    fn a_secret_under_a_secrets_name_does_not_survive(
        (name, quoted_name) in (0..NAMES.len()).prop_flat_map(|at| {
            (Just(NAMES[at]), quoted(NAMES[at].to_owned()))
        }),
        (value, quoted_value) in secret().prop_flat_map(|value| (Just(value.clone()), quoted(value))),
        around in object(),
    ) {
        for text in [
            format!(r#"{{{quoted_name}:{quoted_value},"a":{around}}}"#),
            format!(r#"{{"authParams":{{"a":[[{{"b":{around},{quoted_name} : {quoted_value}}}]]}}}}"#),
            format!(r#"{{"a":[{{"key":{quoted_name},"value":{quoted_value}}}],"b":{around}}}"#),
            format!(r#"{{"a":[{{"Value":{quoted_value},"name":{quoted_name}}}],"b":{around}}}"#),
        ] {
            let masked = mask(&text, "another secret of the client")?;
            let expected = text.replacen(&quoted_value, &json!(MASK).to_string(), 1);
            // The value may stand in `around` too, where it is nobody's secret.
            prop_assert_eq!(&masked, &expected, "{} {}", name, value);
            prop_assert_eq!(mask(&masked, "another secret of the client")?, masked);
        }
    }

    #[test]
    fn the_submitted_secret_does_not_survive_where_it_is_looked_for(
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

    #[test]
    fn masking_twice_is_masking_once(text in object(), secret in "[a-eT ]{8,9}|[dumyClientSecr]{8,20}") {
        prop_assume!(!secret.trim().is_empty());
        let text = format!(r#"{{"a":"{secret}{MASK}{secret}x{secret}","b":{text}}}"#);
        let once = mask(&text, &secret)?;

        prop_assert_eq!(mask(&once, &secret)?, once.clone());
        prop_assert_eq!(mask(&once, MASK)?, once);
    }
}

#[test]
fn a_short_secret_does_not_eat_the_details() -> Result<(), String> {
    let sample =
        r#"{"baseURL":"https://baseURL.com","clientId":"A","authParams":{"key":"A value"}}"#;

    for secret in ["A", "value", MASK, "the client"] {
        assert_eq!(masked(sample, secret)?, sample);
    }
    Ok(())
}

#[test]
fn what_is_shown_is_never_searched() -> Result<(), String> {
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
fn masked_details_have_to_fit_too() {
    let many = r#""apiKey":"x","#.repeat(64 * 1024 / 13 - 1);

    assert!(masked(&format!("{{{many}\"a\":1}}"), "s3cret-s3cret").is_err());
}
