//! The laws of masking, for whatever JSON and whatever secret.

use std::fmt::Write as _;

use proptest::{collection::vec, prelude::*, sample::select};
use proto::{
    ClientId, ClientSecret, MASK, OauthConnectorDetails,
    masking::{PAIR_NAME_KEYS, PAIR_VALUE_KEYS, PLATFORM_MASKS, SECRET_NAMES},
};
use serde_json::{Value, json};

/// As people write the names of secrets: each name of the list, and more spellings.
fn names() -> Vec<String> {
    let spelled = [
        "clientSecret",
        "client_secret",
        "CLIENT-SECRET",
        "Password",
        "private.key",
        "access_token",
        "refreshToken",
        "id_token",
        "api_key",
        "API Key",
        "X-API-Key",
        "SharedAccessKey",
        "consumer_secret",
        "token-secret",
        "shared.secret",
        "SAS key",
        "Pwd",
        "client-assertion",
    ];
    SECRET_NAMES
        .iter()
        .chain(&spelled)
        .map(ToString::to_string)
        .collect()
}

fn plain(name: &str) -> String {
    let name = name.to_lowercase();
    name.chars().filter(|c| c.is_alphanumeric()).collect()
}

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
        Just("grant_type=password&scope=secret".to_owned()),
        Just("Server=x;Integrated Security=true;".to_owned()),
        Just("The secret of it = patience; no password is = 5".to_owned()),
        Just("Bearer nothing".to_owned()),
        Just("[Hidden]".to_owned()),
        Just("[[HIDDEN]]".to_owned()),
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
    .prop_filter("names a secret, or half of a pair", |text| {
        let plain = plain(text);
        !SECRET_NAMES.contains(&plain.as_str())
            && !PAIR_NAME_KEYS.contains(&plain.as_str())
            && !PAIR_VALUE_KEYS.contains(&plain.as_str())
    })
    .prop_filter("holds a pair of a secret", |text| {
        !text.contains('=') || !SECRET_NAMES.iter().any(|name| plain(text).contains(name))
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

    /// A value that has the syntax's signs in it percent-encoded.
    #[test]
    fn a_secret_in_a_url_a_form_or_a_connection_string_does_not_survive(
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
    fn the_submitted_secret_does_not_survive_in_any_form(
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

    /// Whatever the text, and whatever stands where in it.
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

    /// Nothing but the content of strings is replaced: what is around them, keys and numbers stay.
    #[test]
    fn the_shape_of_the_json_stays((secret, text) in secret_and_text(), around in object()) {
        prop_assume!(!secret.trim().is_empty());
        let quoted = json!(text).to_string();
        let text = format!(r#"{{"a":{quoted}, "password" : {quoted},"b":{around},"name":"pwd","value":{quoted}}}"#);
        let masked = mask(&text, &secret)?;

        prop_assert_eq!(without_strings(&masked), without_strings(&text));
        let is_json = serde_json::from_str::<Value>(&masked).is_ok();
        prop_assert!(is_json, "{}", masked);
    }
}

/// A secret, and a text with it and with pieces of syntax in it.
fn secret_and_text() -> impl Strategy<Value = (String, String)> {
    let pieces = || {
        select(vec![
            "://",
            ":",
            "/",
            "@",
            "?",
            "#",
            "&",
            ";",
            "=",
            "pwd",
            "client_secret",
            " ",
            "\"",
            "'",
            "{",
            "}",
            "%",
            "%61",
            "%4",
            "+",
            "a",
            "b",
            "1",
            "\r",
            "\n",
            "\r\n",
            "<",
            ",",
            "https",
            "jdbc:",
            MASK,
            "dummyClient",
            "Secret",
            "[Hidden]",
            "%5BHidden%5D",
            "Bearer ",
            "abababab",
            "é",
            "%C3%A9",
            "\\",
        ])
    };
    (
        vec(pieces(), 1..6),
        vec(pieces(), 0..12),
        vec(pieces(), 0..12),
    )
        .prop_map(|(secret, before, after)| {
            let secret = secret.concat();
            let text = format!("{}{secret}{}", before.concat(), after.concat());
            (secret, text)
        })
}

/// A text as programs write it: as it is, percent-encoded by several rules, with other line ends.
fn written(secret: &str, form: usize, mut choice: u64) -> String {
    let mut written = String::new();
    for c in secret.chars() {
        choice = choice.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let encoded = |upper: bool| {
            let mut escapes = String::new();
            for byte in c.to_string().bytes() {
                let _ = if upper {
                    write!(escapes, "%{byte:02X}")
                } else {
                    write!(escapes, "%{byte:02x}")
                };
            }
            escapes
        };
        match (form, c) {
            (1, '\n') => written += "\r\n",
            (2, ' ') => written.push('+'),
            (2, '\n') => written += "%0D%0A",
            (0 | 1, _) | (2 | 3, 'a'..='z' | 'A'..='Z' | '0'..='9') => written.push(c),
            (2 | 3, _) => written += &encoded(form == 2),
            _ if c.is_ascii_alphanumeric() && choice & 1 == 0 => written.push(c),
            _ => written += &encoded(choice & 2 == 0),
        }
    }
    written
}

/// A JSON text with nothing left in the strings that are values.
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
