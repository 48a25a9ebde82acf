//! Unit tests of the error texts.

use super::*;

fn redacted(message: &str) -> String {
    validation_failed(&ServerError::new(message, None)).message
}

#[test]
fn names_of_the_schema_are_kept_and_all_others_are_removed() {
    for (message, expected) in [
        (
            r#"Unknown field "hunter2" on type "Query"."#,
            "Unknown field on type Query. Nothing was saved.",
        ),
        (
            r#"Unknown field "hunter2" on type "hunter2"."#,
            "Unknown field. Nothing was saved.",
        ),
        (
            r#"Invalid value for argument "input.envId", expected type "String""#,
            "envId must be of type String. Nothing was saved.",
        ),
        (
            r#"Invalid value for argument "input.hunter2", expected type "String""#,
            "The document does not fit the schema. Nothing was saved.",
        ),
        (
            r#"Variable "hunter2" is not defined"#,
            "A variable does not fit: it is undeclared, unused, missing or of another type. \
             Nothing was saved.",
        ),
        (
            "hunter2",
            "The document does not fit the schema. Nothing was saved.",
        ),
    ] {
        assert_eq!(redacted(message), expected, "{message}");
    }
}
