//! Masking of the submitted secret.

use super::check_all;

#[test]
fn the_submitted_secret_is_masked_in_each_of_its_forms() -> anyhow::Result<()> {
    check_all(
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
    check_all(
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
