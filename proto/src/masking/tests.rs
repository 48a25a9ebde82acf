//! What is masked in whole details, by name, pair and form; and that the work is linear.

use super::json;
use super::*;

#[path = "../../benches/masking/worst.rs"]
mod worst;

fn masked(text: &str, secret: &str) -> anyhow::Result<String> {
    let Value::Object(members) = json::read(text) else {
        anyhow::bail!("no object: {text}");
    };
    let secret = ClientSecret::new(secret).map_err(|error| anyhow::anyhow!(error.message))?;
    Ok(mask(text, &members, &secret, "the client"))
}

/// Texts, and what is left of them: `<>` for the mask.
fn all(secret: &str, table: &[(&str, &str)]) -> anyhow::Result<()> {
    for (text, expected) in table {
        let expected = expected.replace("<>", MASK);
        let once = masked(text, secret)?;
        assert_eq!(once, expected, "{text}");
        assert_eq!(masked(&once, secret)?, expected, "masked twice: {text}");
    }
    Ok(())
}

#[test]
fn the_value_of_a_secrets_name_is_masked() -> anyhow::Result<()> {
    all(
        "a secret of nobody",
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
fn pairs_are_masked_whatever_their_halves_are_called() -> anyhow::Result<()> {
    for first in PAIR_NAME_KEYS {
        for second in PAIR_VALUE_KEYS {
            all(
                "a secret of nobody",
                &[
                    (
                        &format!(r#"{{"a":[{{"{first}":"client-secret","{second}":"b"}}]}}"#),
                        &format!(r#"{{"a":[{{"{first}":"client-secret","{second}":"<>"}}]}}"#),
                    ),
                    (
                        &format!(
                            r#"{{"{second}":"b","{}":"password"}}"#,
                            first.to_uppercase()
                        ),
                        &format!(
                            r#"{{"{second}":"<>","{}":"password"}}"#,
                            first.to_uppercase()
                        ),
                    ),
                ],
            )?;
        }
    }
    all(
        "a secret of nobody",
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
fn a_credential_is_masked_behind_its_scheme() -> anyhow::Result<()> {
    all(
        "a secret of nobody",
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
fn the_platforms_masks_stay() -> anyhow::Result<()> {
    for mask in PLATFORM_MASKS {
        for secret in ["a secret of nobody", "[HIDDEN]", "[[HIDDEN"] {
            let text = format!(
                r#"{{"secret":"{mask}","a":[{{"key":"pwd","value":"{mask}"}}],"authorization":"Basic {mask}","x":"{mask}","form":"a=b&secret={mask}&c=d","url":"https://u:{mask}@h"}}"#
            );
            if secret == "a secret of nobody" {
                all(secret, &[(&text, &text)])?;
            }
            let whole = format!(r#"{{"secret":"{mask}","x":"{mask}"}}"#);
            all(secret, &[(&whole, &whole)])?;
        }
    }
    all(
        "a secret of nobody",
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

#[test]
fn the_submitted_secret_is_masked_in_each_of_its_forms() -> anyhow::Result<()> {
    all(
        " hunter2/\r\nhunter2 \n",
        &[
            (r#"{"a":"<hunter2\/\nhunter2>"}"#, r#"{"a":"<<>>"}"#),
            (r#"{"a":"hunter2/\r\nhunter2"}"#, r#"{"a":"<>"}"#),
            (r#"{"a":"x=hunter2%2f%0ahunter2&y"}"#, r#"{"a":"x=<>&y"}"#),
            (r#"{"a":"\u0068unter2%2F%0D%0Ahunter2"}"#, r#"{"a":"<>"}"#),
            (
                r#"{"clientId":"hunter2/\nhunter2"}"#,
                r#"{"clientId":"hunter2/\nhunter2"}"#,
            ),
            (
                r#"{"authParams":{"clientId":"hunter2/\nhunter2"}}"#,
                r#"{"authParams":{"clientId":"<>"}}"#,
            ),
        ],
    )?;
    all(
        "hunter2-hunter2",
        &[
            (r#"{"a":"hunter2-hunter2-hunter2"}"#, r#"{"a":"<>"}"#),
            (
                r#"{"a":"https://u:xhunter2-hunter2@h?pwd=y&b=hunter2-hunter2"}"#,
                r#"{"a":"https://u:<>@h?pwd=<>&b=<>"}"#,
            ),
            (
                r#"{"a":"pwd=xhunter2-hunter2y&b=c"}"#,
                r#"{"a":"pwd=<>&b=c"}"#,
            ),
            (
                r#"{"authorization":"Bearer hunter2-hunter2"}"#,
                r#"{"authorization":"Bearer <>"}"#,
            ),
            (
                r#"{"authorization":"Other hunter2-hunter2"}"#,
                r#"{"authorization":"Other <>"}"#,
            ),
        ],
    )
}

/// A secret that ends where a name or a URL begins must not make masking find more the next time.
#[test]
fn masks_make_nothing_of_what_stands_beside_them() -> anyhow::Result<()> {
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

/// Without a clock: the steps grow as the text does, and are few for each byte of it.
#[test]
fn the_work_is_linear_in_the_text() -> anyhow::Result<()> {
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
fn what_stands_anywhere_in_a_json_text_is_found() {
    let holds =
        |text, piece| Sought::any_length(piece, "").is_some_and(|sought| holds(text, &sought));
    for text in [
        r#"{"a":"x12345"}"#,
        r#"{"12345":1}"#,
        r#"{"a":[{"b":[12345]}]}"#,
        r#"{"baseURL":"https://h/\u00312345"}"#,
        r#"{"\u00312345":1}"#,
        r#"{"a":"%312345"}"#,
    ] {
        assert!(holds(text, "12345"), "{text}");
        assert!(!holds(text, "123456"), "{text}");
    }
}
