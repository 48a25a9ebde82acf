//! Masking of whole details: by name, by pair, by form. The time is linear in the length of the text.

use super::{json, *};

#[path = "../../benches/masking/worst.rs"]
mod worst;

mod submitted;

fn masked(text: &str, secret: &str) -> anyhow::Result<String> {
    let Value::Object(members) = json::read(text) else {
        anyhow::bail!("no object: {text}");
    };
    let secret = ClientSecret::new(secret).map_err(|error| anyhow::anyhow!(error.message))?;
    Ok(mask(text, &members, &secret, "the client"))
}

/// Checks that each text becomes the expected one, in which `<>` is the mask. Masking it again changes nothing.
fn check_all(secret: &str, table: &[(&str, &str)]) -> anyhow::Result<()> {
    for (text, expected) in table {
        let expected = expected.replace("<>", MASK);
        let once = masked(text, secret)?;
        assert_eq!(once, expected, "{text}");
        assert_eq!(masked(&once, secret)?, expected, "masked twice: {text}");
    }
    Ok(())
}

#[test]
fn the_value_of_a_key_that_names_a_secret_is_masked() -> anyhow::Result<()> {
    check_all(
        "an unrelated secret",
        &[
            (
                r#"{"consumerSecret":"a","x":"b"}"#,
                r#"{"consumerSecret":"<>","x":"b"}"#,
            ),
            (
                r#"{"a":[{"x-api-key":"a"}]}"#,
                r#"{"a":[{"x-api-key":"<>"}]}"#,
            ),
            (
                r#"{"pass\u0070hrase":"\u0061\n"}"#,
                r#"{"pass\u0070hrase":"<>"}"#,
            ),
            (
                r#"{"secret":"","saskey":5,"assertion":["a"]}"#,
                r#"{"secret":"","saskey":5,"assertion":["a"]}"#,
            ),
            (
                r#"{"tokenType":"a","accessTokenParams":{"b":"c"}}"#,
                r#"{"tokenType":"a","accessTokenParams":{"b":"c"}}"#,
            ),
        ],
    )
}

#[test]
fn the_value_of_a_pair_is_masked_for_all_keys_of_pairs() -> anyhow::Result<()> {
    for name in PAIR_NAME_KEYS {
        for value in PAIR_VALUE_KEYS {
            check_all(
                "an unrelated secret",
                &[
                    (
                        &format!(r#"{{"a":[{{"{name}":"client-secret","{value}":"b"}}]}}"#),
                        &format!(r#"{{"a":[{{"{name}":"client-secret","{value}":"<>"}}]}}"#),
                    ),
                    (
                        &format!(r#"{{"{value}":"b","{}":"password"}}"#, name.to_uppercase()),
                        &format!(r#"{{"{value}":"<>","{}":"password"}}"#, name.to_uppercase()),
                    ),
                ],
            )?;
        }
    }
    check_all(
        "an unrelated secret",
        &[
            (
                r#"{"param_name":"pwd","param-value":"a"}"#,
                r#"{"param_name":"pwd","param-value":"<>"}"#,
            ),
            (
                r#"{"key":"scope","value":"a","b":"password"}"#,
                r#"{"key":"scope","value":"a","b":"password"}"#,
            ),
            (
                r#"{"key":"secret","values":"a"}"#,
                r#"{"key":"secret","values":"a"}"#,
            ),
        ],
    )
}

#[test]
fn a_credential_is_masked_and_its_scheme_is_kept() -> anyhow::Result<()> {
    check_all(
        "an unrelated secret",
        &[
            (
                r#"{"Authorization":"Basic YTpi=="}"#,
                r#"{"Authorization":"Basic <>"}"#,
            ),
            (
                r#"{"authorization":" bEARER\t a b "}"#,
                r#"{"authorization":" bEARER\t <> "}"#,
            ),
            (
                r#"{"name":"Authorization","value":"Bearer a"}"#,
                r#"{"name":"Authorization","value":"Bearer <>"}"#,
            ),
            (
                r#"{"authorization":"Digest a"}"#,
                r#"{"authorization":"Digest a"}"#,
            ),
            (
                r#"{"authorization":"Bearer"}"#,
                r#"{"authorization":"Bearer"}"#,
            ),
            (
                r#"{"authorization":"Bearer "}"#,
                r#"{"authorization":"Bearer "}"#,
            ),
            (
                r#"{"authorizationUrl":"Bearer a","x":"Bearer a"}"#,
                r#"{"authorizationUrl":"Bearer a","x":"Bearer a"}"#,
            ),
            (
                r#"{"authorization":"https://u:p@h"}"#,
                r#"{"authorization":"https://u:<>@h"}"#,
            ),
        ],
    )
}

#[test]
fn masks_of_the_platform_are_kept() -> anyhow::Result<()> {
    for mask in PLATFORM_MASKS {
        for secret in ["an unrelated secret", "[HIDDEN]", "[[HIDDEN"] {
            let text = format!(
                r#"{{"secret":"{mask}","a":[{{"key":"pwd","value":"{mask}"}}],"authorization":"Basic {mask}","x":"{mask}","form":"a=b&secret={mask}&c=d","url":"https://u:{mask}@h"}}"#
            );
            if secret == "an unrelated secret" {
                check_all(secret, &[(&text, &text)])?;
            }
            let whole = format!(r#"{{"secret":"{mask}","x":"{mask}"}}"#);
            check_all(secret, &[(&whole, &whole)])?;
        }
    }
    check_all(
        "an unrelated secret",
        &[
            (
                r#"{"secret":"\u005bHidden]"}"#,
                r#"{"secret":"\u005bHidden]"}"#,
            ),
            (r#"{"secret":"[hidden]"}"#, r#"{"secret":"<>"}"#),
            (r#"{"secret":" [Hidden]"}"#, r#"{"secret":"<>"}"#),
        ],
    )
}

/// A secret may end where a name or a URL starts. Its mask must not cause more text to be masked the next time.
#[test]
fn a_mask_does_not_turn_the_text_beside_it_into_a_secret() -> anyhow::Result<()> {
    for (secret, text) in [
        (" longsecret", "a://b longsecret:x@y"),
        ("; a long secret", "a=b; a long secretpwd=c"),
        ("1xxxxxxx%", "%31xxxxxxx%41xxxxxxx%"),
        ("a long secret&", "pwd=b&a long secret&c=d"),
        ("dummyClientSecret1", "dummyClientSecret11111111111"),
        (
            "dummyClientSecret-and-more",
            "dummyClientSecretdummyClientSecret-and-more-and-more",
        ),
        ("://u:secret@", "http://u:secret@h://u:x@y"),
        ("ClientSecret and", "dummyClientSecret andClientSecret and"),
    ] {
        let once = masked(&serde_json::json!({ "a": text }).to_string(), secret)?;
        assert_eq!(masked(&once, secret)?, once, "{secret} in {text}");
    }
    Ok(())
}

/// Counts steps instead of measuring time: they grow as the text does, and there are few per byte.
#[test]
fn the_number_of_steps_is_linear_in_the_text() -> anyhow::Result<()> {
    let steps = |case: &worst::Case| -> anyhow::Result<usize> {
        steps::taken();
        masked(&case.text, &case.secret)?;
        Ok(steps::taken())
    };
    for (small, large) in worst::cases(8 * 1024).iter().zip(&worst::cases(32 * 1024)) {
        let (few, many) = (steps(small)?, steps(large)?);
        assert!(many <= 5 * few + 1024, "{}: {few}, then {many}", large.name);
        assert!(many <= 20 * large.text.len(), "{}: {many}", large.name);
    }
    Ok(())
}

#[test]
fn contains_finds_a_term_anywhere_in_a_json_text() {
    let found = |text, piece| {
        SearchTerms::any_length(piece, "").is_some_and(|terms| contains(text, &terms))
    };
    for text in [
        r#"{"a":"x12345"}"#,
        r#"{"12345":1}"#,
        r#"{"a":[{"b":[12345]}]}"#,
        r#"{"baseURL":"https://h/\u00312345"}"#,
        r#"{"\u00312345":1}"#,
        r#"{"a":"%312345"}"#,
    ] {
        assert!(found(text, "12345"), "{text}");
        assert!(!found(text, "123456"), "{text}");
    }
}
