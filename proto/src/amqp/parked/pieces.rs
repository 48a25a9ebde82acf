//! The pieces of a `clientSecret` that is not a string.

use std::borrow::Cow;

use serde_json::Value;

use crate::secret::MASK;

/// The most pieces that are searched for. Each piece takes one search of the details.
const MAX_PIECES: usize = 8;

/// The strings, keys and numbers of a value. `None` if a search for them could miss one: there are too many,
/// a number whose original text is unknown, or a piece that contains the mask.
pub(super) fn of(secret: &Value) -> Option<Vec<Cow<'_, str>>> {
    let mut pieces: Vec<Cow<'_, str>> = Vec::new();
    let mut left = vec![secret];
    while let Some(value) = left.pop() {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::String(text) => pieces.push(text.trim().into()),
            Value::Number(number) if number.is_f64() => return None,
            Value::Number(number) => pieces.push(number.to_string().into()),
            Value::Array(items) => left.extend(items),
            Value::Object(members) => {
                pieces.extend(members.keys().map(Into::into));
                left.extend(members.values());
            }
        }
        if pieces.len() > MAX_PIECES {
            return None;
        }
    }
    let holds_a_mask = |piece: &Cow<'_, str>| piece.contains(MASK) && piece != MASK;
    (!pieces.iter().any(holds_a_mask)).then_some(pieces)
}
