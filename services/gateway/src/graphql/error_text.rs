//! Puts async-graphql's own errors into words that quote nothing of the request.
//!
//! Its messages echo names and values, and with them whatever secret was typed into the wrong
//! place. A word of such a message is kept only if the schema knows it.

use std::{collections::HashSet, sync::LazyLock};

use async_graphql::{Pos, ServerError};

use super::{errors::extensions, schema};
use crate::error_code::Code;

const REQUIRED: &str = "is required but not provided";
const GENERIC: &str = "The document does not fit the schema";

/// How async-graphql's messages begin, and what is said in their place before the names that the
/// schema knows are added. The order matters: the first that fits is taken.
const WORDS: [(&str, &str); 14] = [
    ("Unknown field", "Unknown field"),
    ("Unknown argument", "Unknown argument"),
    ("Unknown type", "Unknown type"),
    ("Unknown directive", "Unknown directive"),
    ("Unknown fragment", "Unknown fragment"),
    (
        "Unknown operation",
        "The operationName is not in the document",
    ),
    (
        "Operation name required",
        "The operationName is required: the document has several operations",
    ),
    (
        "There can only be one argument",
        "An argument is given twice",
    ),
    (
        "There can only be one variable",
        "A variable is declared twice",
    ),
    (
        "Fragment cannot be spread",
        "A fragment does not fit where it is spread",
    ),
    ("Query is too complex", "The document is too complex"),
    (
        "Query is nested too deep",
        "The document is nested too deep",
    ),
    ("The recursion depth", "The document is nested too deep"),
    (
        "Variable",
        "A variable does not fit: it is undeclared, unused, missing or of another type",
    ),
];

static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let sdl = schema::sdl();
    sdl.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(ToOwned::to_owned)
        .collect()
});

/// A document that can't be parsed. The parser's message would show the line in which it stopped.
pub(crate) fn parse_failed(error: &async_graphql::parser::Error) -> ServerError {
    parse_failed_at(error.positions().next().unwrap_or_default())
}

/// A document in which no token begins at a position.
pub(crate) fn parse_failed_at(pos: Pos) -> ServerError {
    let message = format!(
        "Syntax error in the GraphQL document at line {}, column {}. Nothing was saved.",
        pos.line, pos.column
    );
    of_code(Code::GraphqlParseFailed, message, pos)
}

/// The first fault of a document that does not fit the schema.
pub(crate) fn validation_failed(error: &ServerError) -> ServerError {
    let names = Names::of(&error.message);
    let mut message = names.sentence(&error.message);
    if let Some(name) = names.suggestion {
        message = format!("{message} (did you mean {name}?)");
    }
    let mut safe = of_code(
        Code::GraphqlValidationFailed,
        format!("{message}. Nothing was saved."),
        error.locations.first().copied().unwrap_or_default(),
    );
    safe.path.clone_from(&error.path);
    if let (Some(field), Some(extensions)) = (names.field, &mut safe.extensions) {
        extensions.set("field", field);
    }
    safe
}

/// A field of an input, or an argument, that is missing or of the wrong type.
pub(crate) fn field_failed(field: &str, rule: &str, pos: Pos) -> ServerError {
    let message = format!(
        "{} {rule}. Nothing was saved.",
        known(Some(field)).unwrap_or("A field")
    );
    let mut error = of_code(Code::GraphqlValidationFailed, message, pos);
    if let (Some(field), Some(extensions)) = (known(Some(field)), &mut error.extensions) {
        extensions.set("field", field);
    }
    error
}

/// A document that is nested deeper than any parser should follow.
pub(crate) fn too_deep() -> ServerError {
    let message = "The document is nested too deep. Nothing was saved.".to_owned();
    of_code(
        Code::GraphqlParseFailed,
        message,
        Pos { line: 1, column: 1 },
    )
}

/// A document that asks for more than is given at once.
pub(crate) fn too_many(what: &str, most: usize) -> ServerError {
    invalid(&format!("The document has more than {most} {what}"))
}

/// A document whose answer would have more fields than are answered at once.
pub(crate) fn too_complex() -> ServerError {
    invalid("The document is too complex")
}

/// A document whose fields are nested deeper than they may be, with its fragments.
pub(crate) fn nested_too_deep() -> ServerError {
    invalid("The document is nested too deep")
}

/// A document whose answer would have more bytes than are answered at once.
pub(crate) fn too_large_an_answer() -> ServerError {
    invalid("The document asks for a larger answer than is given at once")
}

/// A document that names its variables so often that they would take too much memory.
pub(crate) fn too_large_variables() -> ServerError {
    invalid("The variables are too large for as often as the document names them")
}

/// A fragment that would never end.
pub(crate) fn spreads_itself(pos: Pos) -> ServerError {
    let message = "A fragment spreads itself. Nothing was saved.".to_owned();
    of_code(Code::GraphqlValidationFailed, message, pos)
}

fn invalid(words: &str) -> ServerError {
    of_code(
        Code::GraphqlValidationFailed,
        format!("{words}. Nothing was saved."),
        Pos { line: 1, column: 1 },
    )
}

fn of_code(code: Code, message: String, pos: Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(pos));
    error.extensions = Some(extensions(code.as_str(), false));
    error
}

/// What a message names and the schema knows.
struct Names<'a> {
    field: Option<&'a str>,
    field_type: Option<&'a str>,
    on_type: Option<&'a str>,
    /// For developers alone: the schema suggests nothing to others.
    suggestion: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn of(message: &'a str) -> Self {
        let field = if message.contains(REQUIRED) {
            quoted_after(message, ", field ").or(quoted_after(message, "argument "))
        } else {
            // `"input.envId", expected type "String"`: the path of an argument, the field last.
            quoted_after(message, "Invalid value for argument ")
                .and_then(|path| path.rsplit('.').next())
        };
        Self {
            field: known(field),
            field_type: known(quoted_after(message, "expected type ")),
            on_type: known(quoted_after(message, "on type ").or(quoted_after(message, "of type "))),
            suggestion: known(quoted_after(message, "Did you mean ")),
        }
    }

    fn sentence(&self, message: &str) -> String {
        if let Some(field) = self.field {
            if message.contains(REQUIRED) {
                return format!("{field} is required");
            }
            if let Some(expected) = self.field_type {
                return format!("{field} must be of type {expected}");
            }
            if message.contains("unknown field") {
                return format!("{field} has a field that the schema does not know");
            }
            return format!("{field} does not fit the schema");
        }
        let words = WORDS
            .iter()
            .find(|(beginning, _)| message.starts_with(beginning))
            .map_or(GENERIC, |(_, words)| *words);
        match self.on_type {
            Some(name) if words.starts_with("Unknown") => format!("{words} on type {name}"),
            _ => words.to_owned(),
        }
    }
}

fn quoted_after<'a>(message: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(words)?;
    let (quoted, _) = rest.strip_prefix('"')?.split_once('"')?;
    Some(quoted)
}

fn known(name: Option<&str>) -> Option<&str> {
    name.filter(|name| KNOWN.contains(name.trim_end_matches('!')))
}
