//! A submitted secret is found in each of its forms, and some secrets are not searched for.

use super::*;

fn found<'a>(secret: &str, text: &'a str) -> Vec<&'a str> {
    SearchTerms::submitted(secret, "the client").map_or_else(Vec::new, |terms| {
        let ranges = terms.ranges(text).into_iter();
        ranges.map(|range| &text[range]).collect()
    })
}

const PEM: &str = "-----BEGIN KEY-----\nab+/=\n-----END KEY-----\n";

/// A secret, a text, and the parts of the text that are found.
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
fn short_secrets_masks_and_the_client_id_are_not_searched_for() {
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
            SearchTerms::submitted(secret, "the client").is_none(),
            "{secret}"
        );
    }
    assert!(SearchTerms::any_length("short", "the client").is_some());
    assert!(SearchTerms::any_length(" ", "the client").is_none());
}

#[test]
fn nothing_is_found_inside_of_a_mask() {
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
