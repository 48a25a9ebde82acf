//! Secrets that are found by the syntax of URLs, forms, connection strings and text.

use super::*;
use crate::secret::MASK;

/// The text with each secret replaced by `<>`.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    let mut done = 0;
    for range in secrets(text) {
        assert!(done <= range.start && range.start < range.end, "{text}");
        masked += &text[done..range.start];
        masked += "<>";
        done = range.end;
    }
    masked + &text[done..]
}

fn check_all(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(masked(text), *expected, "{text}");
    }
}

/// Checks that no secret is found.
fn check_none(texts: &[&str]) {
    for text in texts {
        assert_eq!(masked(text), *text);
    }
}

#[test]
fn the_password_of_the_user_info_is_found() {
    check_all(&[
        ("https://user:pw@host/path", "https://user:<>@host/path"),
        (r"https:\\user:pw@host", r"https:\\user:<>@host"),
        ("HTTP:user:pw@host", "HTTP:user:<>@host"),
        ("https:///user:pw@host", "https:///user:<>@host"),
        ("https://user:p@ss:w@host", "https://user:<>@host"),
        ("https://user:p w@host", "https://user:<>@host"),
        ("https://:pw@host", "https://:<>@host"),
        (
            "jdbc:postgresql://user:pw@host/db",
            "jdbc:postgresql://user:<>@host/db",
        ),
        (
            "see amqp://user:pw@host, or me@there",
            "see amqp://user:<>@host, or me@there",
        ),
        (
            "https://host/?next=https://u:pw@host",
            "https://host/?next=https://u:<>@host",
        ),
        ("a://b:c@d/e://f:g@h", "a://b:<>@d/e://f:<>@h"),
        ("x=https://u:pw@host&y=1", "x=https://u:<>@host&y=1"),
    ]);
    check_none(&[
        "https://host/a:b@c",
        "urn:user:pw@host",
        "https://user:@host",
        "https://me@host",
        "a:b@c",
    ]);
}

#[test]
fn parameters_of_a_url_are_found_by_their_decoded_name() {
    check_all(&[
        (
            "https://host?client_secret=a&b=c",
            "https://host?client_secret=<>&b=c",
        ),
        (
            "https://host/?x=1&Client%2DSecret=a;api-key=b#id_token=c",
            "https://host/?x=1&Client%2DSecret=<>;api-key=<>#id_token=<>",
        ),
        ("/token?access_token=a", "/token?access_token=<>"),
        (
            "https://host?client secret=a b&c=d",
            "https://host?client secret=<>&c=d",
        ),
        (
            "see https://host?secret=a#top and on",
            "see https://host?secret=<>#top and on",
        ),
        (
            "<a href=\"https://host?secret=a\">",
            "<a href=\"https://host?secret=<>\">",
        ),
        (
            "https://host?a=b=c&secret=d=e",
            "https://host?a=b=c&secret=<>",
        ),
        (
            "https://host?password=\"a&b=c\"&d=e",
            "https://host?password=\"<>\"&d=e",
        ),
        (
            "https://host?to=https://x?apikey=a&b=c",
            "https://host?to=https://x?apikey=<>&b=c",
        ),
    ]);
    check_none(&[
        "https://host?token_type=bearer&secret=",
        "https://host?secretly=a&access_token_params=b",
        "https://host?x=secret&y=password",
    ]);
}

#[test]
fn parameters_of_a_form_are_found() {
    check_all(&[
        (
            "grant_type=client_credentials&client_secret=abc",
            "grant_type=client_credentials&client_secret=<>",
        ),
        ("client_secret=abc", "client_secret=<>"),
        ("?client_secret=abc&x=1", "?client_secret=<>&x=1"),
        (
            "x=1&client%5Fsecret=a%26b&assertion=c",
            "x=1&client%5Fsecret=<>&assertion=<>",
        ),
        ("secret=a&b#c?d&x=1", "secret=<>&x=1"),
        ("secret=a&", "secret=<>&"),
    ]);
    check_none(&[
        "grant_type=password&scope=secret",
        "secret=",
        "secret=&a=b",
        "=secret",
        "a=secret=b",
    ]);
}

#[test]
fn passwords_of_connection_strings_are_found() {
    check_all(&[
        (
            "Server=x;User Id=sa;Password=abc;",
            "Server=x;User Id=sa;Password=<>;",
        ),
        (
            "Server=x; Client Secret = a b ; App=y",
            "Server=x; Client Secret = <> ; App=y",
        ),
        ("Uid=sa;Pwd=a&b#c?d@e:f;Server=x", "Uid=sa;Pwd=<>;Server=x"),
        ("Password=\"a;b=c\";Server=x", "Password=\"<>\";Server=x"),
        ("Password='it''s' ;Server=x", "Password='<>' ;Server=x"),
        (
            "Driver={SQL Server};PWD={a;b=c};X=y",
            "Driver={SQL Server};PWD={<>};X=y",
        ),
        ("Password=\"a;Server=x", "Password=<>;Server=x"),
        (
            "jdbc:sqlserver://h;user=u;password=p",
            "jdbc:sqlserver://h;user=u;password=<>",
        ),
        (
            "jdbc:sqlserver://h:1433;user=u;password=p@s:s/w;x=y",
            "jdbc:sqlserver://h:1433;user=u;password=<>;x=y",
        ),
        (
            "JDBC:mysql://h/d?user=u&password=p#q",
            "JDBC:mysql://h/d?user=u&password=<>",
        ),
        (
            "jdbc:db2://h:5/d:password=p;user=u;",
            "jdbc:db2://h:5/d:password=<>;user=u;",
        ),
        (
            "Endpoint=sb://x.net/;SharedAccessKeyName=Root;SharedAccessKey=a+b/c=;E=f",
            "Endpoint=sb://x.net/;SharedAccessKeyName=Root;SharedAccessKey=<>;E=f",
        ),
        (
            "host=h port=1 password=it's dbname=d",
            "host=h port=1 password=<> dbname=d",
        ),
        (
            "cache.net:6380,password=abc=,ssl=True",
            "cache.net:6380,password=<>",
        ),
    ]);
    check_none(&[
        "Server=x;Integrated Security=true",
        "AccountName=a;AccountKey=b",
        "SharedAccessKeyName=Root",
    ]);
}

#[test]
fn a_pair_in_text_is_found_and_prose_is_kept() {
    check_all(&[
        (
            "run it: --password=abc --verbose",
            "run it: --password=<> --verbose",
        ),
        (
            "Login required user=\"u\" password=\"a b\";",
            "Login required user=\"u\" password=\"<>\";",
        ),
        ("(secret=a)", "(secret=<>"),
    ]);
    check_none(&[
        "The secret = patience, and a password is = 5",
        "E = mc2; the secret is kept",
        "tokenType=bearer; accessTokenParams=x",
        "a secret: none",
    ]);
}

#[test]
fn masks_are_kept() {
    for mask in [MASK, "[Hidden]", "[[HIDDEN]]", "%5BHidden%5D"] {
        check_none(&[
            &format!("https://u:{mask}@h?client_secret={mask}&a=b#id_token={mask}"),
            &format!("Server=x;Password={mask} ; Pwd=\"{mask}\""),
            &format!("a={mask}&secret={mask}"),
        ]);
    }
}
