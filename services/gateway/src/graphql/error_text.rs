//! Replaces async-graphql's error messages by texts that quote no value of the request.
//!
//! async-graphql's messages contain names and values of the request, so they can contain a secret that was
//! entered in the wrong place. A name of the message is used only if it is a word of the schema.

use std::{collections::HashSet, sync::LazyLock};

use async_graphql::{Pos, ServerError};

use super::{errors::extensions, schema};
use crate::error_code::Code;

const REQUIRED: &str = "is required but not provided";
const GENERIC: &str = "The document does not fit the schema";

/// The starts of async-graphql's messages, and their replacements. The first match is used, so the order
/// matters.
const REPLACEMENTS: [(&str, &str); 14] = [
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

/// All words of the schema in the schema definition language: its names, and the words of its descriptions. All
/// of them are published.
static SCHEMA_WORDS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let sdl = schema::sdl();
    sdl.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .map(ToOwned::to_owned)
        .collect()
});

/// A document that can't be parsed. The parser's own message quotes a line of the document.
pub(crate) fn parse_failed(error: &async_graphql::parser::Error) -> ServerError {
    // An error without a position is reported at line 0.
    parse_failed_at(error.positions().next().unwrap_or_default())
}

/// A document that has no valid token at a position.
pub(crate) fn parse_failed_at(pos: Pos) -> ServerError {
    let message = format!(
        "Syntax error in the GraphQL document at line {}, column {}. Nothing was saved.",
        pos.line, pos.column
    );
    of_code(Code::GraphqlParseFailed, message, pos)
}

/// The first validation error of a document.
pub(crate) fn validation_failed(error: &ServerError) -> ServerError {
    let names = Names::of(&error.message);
    let mut message = names.sentence(&error.message);
    if let Some(name) = names.suggestion {
        message = format!("{message} (did you mean {name}?)");
    }
    let mut safe = of_code(
        Code::GraphqlValidationFailed,
        format!("{message}. Nothing was saved."),
        // An error without a position is reported at line 0.
        error.locations.first().copied().unwrap_or_default(),
    );
    safe.path.clone_from(&error.path);
    if let (Some(field), Some(extensions)) = (names.field, &mut safe.extensions) {
        extensions.set("field", field);
    }
    safe
}

/// A field of an input, or an argument, that is missing or has the wrong type.
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

/// A text with brackets that are nested too deep to be parsed.
pub(crate) fn too_deep() -> ServerError {
    let message = "The document is nested too deep. Nothing was saved.".to_owned();
    of_code(
        Code::GraphqlParseFailed,
        message,
        Pos { line: 1, column: 1 },
    )
}

/// A document that exceeds the maximum number of something.
pub(crate) fn too_many(name: &str, max: usize) -> ServerError {
    invalid(&format!("The document has more than {max} {name}"))
}

/// A document whose answer would have too many fields.
pub(crate) fn too_complex() -> ServerError {
    invalid("The document is too complex")
}

/// A document whose fields, fragments included, are nested too deep.
pub(crate) fn nested_too_deep() -> ServerError {
    invalid("The document is nested too deep")
}

/// A document whose answer would be too large.
pub(crate) fn too_large_answer() -> ServerError {
    invalid("The document asks for a larger answer than is given at once")
}

/// A document that uses its variables so often that their copies would use too much memory.
pub(crate) fn too_large_variables() -> ServerError {
    invalid("The variables are too large for as often as the document names them")
}

/// A fragment that contains itself.
pub(crate) fn spreads_itself(pos: Pos) -> ServerError {
    let message = "A fragment spreads itself. Nothing was saved.".to_owned();
    of_code(Code::GraphqlValidationFailed, message, pos)
}

fn invalid(message: &str) -> ServerError {
    of_code(
        Code::GraphqlValidationFailed,
        format!("{message}. Nothing was saved."),
        Pos { line: 1, column: 1 },
    )
}

fn of_code(code: Code, message: String, pos: Pos) -> ServerError {
    let mut error = ServerError::new(message, Some(pos));
    error.extensions = Some(extensions(code.as_str(), false));
    error
}

/// The names in a message, as far as they are words of the schema.
struct Names<'a> {
    field: Option<&'a str>,
    field_type: Option<&'a str>,
    on_type: Option<&'a str>,
    /// In development mode only: otherwise the schema makes no suggestions.
    suggestion: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn of(message: &'a str) -> Self {
        let field = if message.contains(REQUIRED) {
            quoted_after(message, ", field ").or(quoted_after(message, "argument "))
        } else {
            // The message has the path of an argument: `"input.envId", expected type "String"`.
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
        let text = REPLACEMENTS
            .iter()
            .find(|(start, _)| message.starts_with(start))
            .map_or(GENERIC, |(_, text)| *text);
        match self.on_type {
            Some(name) if text.starts_with("Unknown") => format!("{text} on type {name}"),
            _ => text.to_owned(),
        }
    }
}

/// The quoted text after `prefix`.
fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(prefix)?;
    let (quoted, _) = rest.strip_prefix('"')?.split_once('"')?;
    Some(quoted)
}

fn known(name: Option<&str>) -> Option<&str> {
    name.filter(|name| SCHEMA_WORDS.contains(name.trim_end_matches('!')))
}

#[cfg(test)]
mod tests;
