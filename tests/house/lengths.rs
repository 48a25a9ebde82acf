//! The lengths of functions.

use crate::tokens::{Token, tokens};

#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// From `fn` to the closing brace. A text over several lines, such as SQL, counts as one line.
    pub lines: usize,
}

pub fn functions(source: &str) -> Vec<Function> {
    let tokens = tokens(source);
    let mut functions = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        let is_function = keyword.text == "fn" && name.text != "(";
        if is_function && let Some(lines) = body_lines(&tokens[index..]) {
            functions.push(Function {
                name: name.text.clone(),
                lines,
            });
        }
    }
    functions
}

/// `None` for a function without a body.
fn body_lines(tokens: &[Token]) -> Option<usize> {
    let mut depth = 0_i32;
    let mut lines_of_text = 0;
    for token in tokens {
        lines_of_text += token.last_line - token.line;
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(token.line - tokens[0].line + 1 - lines_of_text);
                }
            }
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn a_text_counts_as_one_line() {
    let source =
        "trait T { fn a(); }\npub fn b(x: [u8; 2]) {\n    sql(\"select\n 1\n\");\n    {}\n}\n";
    let expected = Function {
        name: "b".to_owned(),
        lines: 4,
    };
    assert_eq!(functions(source), [expected]);
}
