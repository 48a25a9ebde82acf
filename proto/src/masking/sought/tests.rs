//! Each form in which a submitted secret is found, and what is not looked for.

use super::*;

fn found<'a>(secret: &str, text: &'a str) -> Vec<&'a str> {
    Sought::submitted(secret, "the client").map_or_else(Vec::new, |sought| {
        let places = sought.places(text).into_iter();
        places.map(|place| &text[place]).collect()
    })
}

const PEM: &str = "-----BEGIN KEY-----\nab+/=\n-----END KEY-----\n";

/// A secret, a text, and where it stands in it.
const FORMS: [(&str, &str, &[&str]); 14] = [
    (
        "hunter2-hunter2",
        "a hunter2-hunter2!",
        &["hunter2-hunter2"],
    ),
    (
        " hunter2-hunter2\n",
        "xhunter2-hunter2y",
        &["hunter2-hunter2"],
    ),
    (
        PEM,
        "<-----BEGIN KEY-----\r\nab+/=\r\n-----END KEY----->",
        &["-----BEGIN KEY-----\r\nab+/=\r\n-----END KEY-----"],
    ),
    (
        "line one\r\nline two",
        "line one\nline two",
        &["line one\nline two"],
    ),
    (
        "p@ss/w&rd",
        "p%40ss%2fw%26rd p%40ss%2Fw%26rd",
        &["p%40ss%2fw%26rd", "p%40ss%2Fw%26rd"],
    ),
    (
        "hunter2-hunter2",
        "%68unter2-hunter%32",
        &["%68unter2-hunter%32"],
    ),
    (
        "p ss+w rd",
        "p+ss%2Bw+rd p%20ss%2bw%20rd p%20ss+w%20rd",
        &["p+ss%2Bw+rd", "p%20ss%2bw%20rd", "p%20ss+w%20rd"],
    ),
    (
        "line one\nline two",
        "line%20one%0D%0Aline+two",
        &["line%20one%0D%0Aline+two"],
    ),
    (
        "sécrét-é",
        "s%C3%A9cr%c3%a9t-%C3%A9 sécrét-é",
        &["s%C3%A9cr%c3%a9t-%C3%A9", "sécrét-é"],
    ),
    (
        "%41%42%43",
        "x%41%42%43 and %2541%2542%2543",
        &["%41%42%43", "%2541%2542%2543"],
    ),
    ("abababab", "xabababababy", &["ababababab"]),
    (
        "aaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaa",
        &["aaaaaaaaaaaaaaaaaaaa"],
    ),
    ("abcdefgh", "abcdefghabcdefgh", &["abcdefgh", "abcdefgh"]),
    ("abcdef12", "100%abcdef12", &["abcdef12"]),
];

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    for (secret, text, expected) in FORMS {
        assert_eq!(found(secret, text), expected, "{secret} in {text}");
    }
}

#[test]
fn what_is_no_secret_is_not_looked_for() {
    for secret in [
        "",
        "short",
        " short      ",
        MASK,
        "the client",
        " the client ",
        "[[HIDDEN]]",
        "[Hidden]",
    ] {
        assert!(
            Sought::submitted(secret, "the client").is_none(),
            "{secret}"
        );
    }
    assert!(Sought::any_length("short", "the client").is_some());
    assert!(Sought::any_length(" ", "the client").is_none());
}

#[test]
fn no_place_touches_a_mask() {
    assert_eq!(found("ClientSecret", MASK), Vec::<&str>::new());
    assert_eq!(
        found("dummyClient", "dummyClient dummyClientSecret"),
        ["dummyClient"]
    );
    assert_eq!(
        found("dummyClientSecret-and-more", "dummyClientSecret-and-more"),
        ["-and-more"]
    );
}
