//! Random details, names, secrets and their encodings.

use std::fmt::Write as _;

use proptest::{collection::vec, prelude::*, sample::select};
use proto::{
    MASK,
    masking::{PAIR_NAME_KEYS, PAIR_VALUE_KEYS, SECRET_NAMES},
};
use serde_json::Value;

/// The names of secrets as people write them: each name of the list, and other spellings.
pub fn names() -> Vec<String> {
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

/// A key or a value without a secret and without the name of one.
pub fn harmless() -> impl Strategy<Value = String> {
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

pub fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" "), Just("\n\t"), Just(" \r\n ")]
}

/// A JSON string with some characters escaped, chosen at random.
pub fn quoted(text: String) -> impl Strategy<Value = String> {
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

/// The text of a JSON object without a secret, with unusual white space, escapes and duplicate keys.
pub fn object() -> impl Strategy<Value = String> {
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

pub fn secret() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9/+=\"\\\\é]{8,40}".prop_filter("is part of the mask", |secret| {
        !MASK.contains(secret.as_str()) && !secret.trim().is_empty()
    })
}

/// A secret, and a text that contains the secret and pieces of syntax.
pub fn secret_and_text() -> impl Strategy<Value = (String, String)> {
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

/// A secret in one of the forms that programs write: literal, percent-encoded by different rules, with other
/// line breaks.
pub fn written(secret: &str, form: usize, mut choice: u64) -> String {
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
