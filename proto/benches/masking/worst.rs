//! Details that once took, or could take, more than linear time. The bench and the unit test that counts steps
//! use them.

/// Details, and the client secret that is submitted with them.
pub struct Case {
    /// What makes the case slow.
    pub name: &'static str,
    /// The JSON text of an object.
    pub text: String,
    /// The submitted secret.
    pub secret: String,
}

/// Parts that fill a string. They are JSON text, so `\\` starts an escape.
const FILLED: [(&str, &str); 30] = [
    ("plain text", "plain text "),
    ("schemes", "://"),
    ("schemes and pairs", "://a=b&"),
    ("pairs", "a=b&"),
    ("pairs of secrets", "pwd=a&"),
    ("equals signs", "="),
    ("names without an end", "secret_"),
    ("passwords of urls", "://u:p@"),
    ("at signs", "://:@@"),
    ("colons", "://:"),
    ("question marks", "?a"),
    ("slashes", "//"),
    ("nested urls", "https://u:p@h?next="),
    ("urls with long tails", "http://a?b=c "),
    ("percent signs", "%"),
    ("percent escapes", "%61"),
    ("percent-encoded names", "%70wd=x&"),
    ("escapes", "\\u0061"),
    ("surrogate pairs", "\\ud83d\\ude00"),
    ("escaped pairs", "p\\u0077d=a&"),
    ("line ends", "\\r"),
    ("open double quotes", "pwd=\\\"a;"),
    ("open single quotes", "pwd='a&"),
    ("open braces", "pwd={a;"),
    ("closed quotes", "pwd='a;b';"),
    ("semicolons", "pwd=;;a "),
    ("spaces", "pwd= &  "),
    ("masks", "dummyClientSecret"),
    ("parts of the mask", "dummyClient"),
    ("letters that fold", "\u{130}="),
];

/// Starts of strings. Each gives the string another form.
const STARTS: [&str; 4] = ["", "https://h/?", "a=b;", "jdbc:x://"];

/// Parts that fill a base URL, which is also parsed as a URL.
const BASE_URLS: [(&str, &str); 14] = [
    ("a host of one label", "a"),
    ("a host of many labels", "a."),
    ("a host in another script", "\u{fc}"),
    ("labels in another script", "\u{fc}."),
    ("encoded labels", "xn--tda."),
    ("one encoded label", "xn--tda"),
    ("a host of marks", "e\u{301}\u{316}"),
    ("a host of ignored characters", "\u{ad}"),
    ("a host that is decoded", "%61"),
    ("a host of numbers", "0x1."),
    ("a host right to left", "\u{5d0}."),
    ("user info", "u:p@"),
    ("path segments", "h/../a/"),
    ("a path in another script", "h/\u{fc}?"),
];

/// Members that fill an object.
const MEMBERS: [(&str, &str); 10] = [
    ("members", r#""a":"","#),
    ("secrets", r#""secret":"secrets and more","#),
    (
        "halves of pairs",
        r#""key":"secret","val":"a secret and more","#,
    ),
    (
        "credentials",
        r#""authorization":"Bearer abcdefghijklmnop","#,
    ),
    ("small strings", r#""a":["","","","","",""],"#),
    ("numbers", r#""":[1,2,3,4,5,6],"#),
    ("nesting", r#""":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],"#),
    ("arrays of one", r#""":[[0],[0],[0],[0],[0],[0],[0]],"#),
    ("objects of one", r#""":[{"":0},{"":0},{"":0},{"":0}],"#),
    ("base urls", r#""baseURL":"https://h","#),
];

/// All cases, each a little shorter than this number of bytes.
#[must_use]
pub fn cases(bytes: usize) -> Vec<Case> {
    let mut cases: Vec<_> = FILLED
        .iter()
        .flat_map(|(name, part)| STARTS.map(|start| (*name, start, *part)))
        .map(|(name, start, part)| Case {
            name,
            text: string(start, part, bytes),
            secret: "an unrelated secret".to_owned(),
        })
        .collect();
    cases.extend(MEMBERS.map(|(name, member)| Case {
        name,
        text: format!("{{{}\"a\":1}}", filled(member, bytes - 10)),
        secret: "an unrelated secret".to_owned(),
    }));
    cases.extend(BASE_URLS.map(|(name, part)| Case {
        name,
        text: format!(r#"{{"baseURL":"https://{}"}}"#, filled(part, bytes - 24)),
        secret: "an unrelated secret".to_owned(),
    }));
    cases.extend(secrets(bytes.min(64 * 1024) / 4, bytes));
    cases
}

/// Secrets that occur, or nearly occur, many times in the details.
fn secrets(length: usize, bytes: usize) -> Vec<Case> {
    let all = "a".repeat(length);
    let ends = format!("{}b", &all[1..]);
    let begins = format!("b{}", &all[1..]);
    let middle = format!("{}b{}", &all[..length / 2], &all[length / 2 + 1..]);
    [
        ("a secret that overlaps itself", &all, "a"),
        ("a secret whose end never comes", &ends, "a"),
        ("a secret whose start never comes", &begins, "a"),
        ("a secret with another middle", &middle, &all[..length / 2]),
        ("an encoded secret that overlaps itself", &all, "%61"),
        ("an encoded secret whose end never comes", &ends, "%61"),
        ("a secret that is encoded here and there", &all, "a%61"),
        ("a secret of eight bytes", &"abababab".to_owned(), "ab"),
        (
            "many secrets",
            &"hunter2-hunter2-hunter2".to_owned(),
            "hunter2-hunter2-hunter2 ",
        ),
        (
            "many encoded secrets",
            &"hunter2 hunter2 hunter2".to_owned(),
            "hunter2+hunter2+hunter2 ",
        ),
        (
            "many secrets and pairs",
            &"hunter2-hunter2-hunter2".to_owned(),
            "pwd=hunter2-hunter2-hunter2&",
        ),
    ]
    .map(|(name, secret, part)| Case {
        name,
        text: string("", part, bytes),
        secret: secret.clone(),
    })
    .into()
}

fn string(start: &str, part: &str, bytes: usize) -> String {
    let around = r#"{"authParams":{"a":""}}"#.len() + start.len();
    let part = filled(part, bytes - around);
    format!(r#"{{"authParams":{{"a":"{start}{part}"}}}}"#)
}

fn filled(part: &str, bytes: usize) -> String {
    part.repeat(bytes / part.len())
}
