//! The revision that a command expects, and how its number is read.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, value::RawValue};

use crate::error::{CommandError, EXPECTED_REVISION};

/// The revision that a record must have for a command to take effect; 0 where there must be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ExpectedRevision(i64);

impl ExpectedRevision {
    /// The field's name in the API and on the wire.
    pub const FIELD: &'static str = EXPECTED_REVISION;

    /// The largest one, 2^53 - 1: every program that reads JSON knows it from the next.
    pub const MAX: i64 = 9_007_199_254_740_991;

    /// Takes a number that a record's revision can be, or 0.
    ///
    /// # Errors
    /// Negative, or larger than [`Self::MAX`].
    pub fn new(revision: i64) -> Result<Self, CommandError> {
        if revision < 0 {
            return Err(CommandError::value(Self::FIELD, "must be 0 or more"));
        }
        if revision > Self::MAX {
            let rule = "must be at most 9007199254740991";
            return Err(CommandError::value(Self::FIELD, rule));
        }
        Ok(Self(revision))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl JsonSchema for ExpectedRevision {
    fn schema_name() -> Cow<'static, str> {
        "ExpectedRevision".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "description": "The revision that the record must have, or 0 where there must be none; \
                            else the command is refused with CONFLICT. Missing: whatever it is.",
            "minimum": 0,
            "maximum": Self::MAX,
        })
    }
}

/// Reads a value from its text, a whole number as one however it is written. `serde_json` reads
/// 9007199254740991.0 as another number, unless all of its users pay for more precision.
pub(crate) fn exact_number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    let text = <&RawValue>::deserialize(from)?.get();
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Some(whole.into()));
    }
    match text.parse::<f64>() {
        Ok(number) => Ok(Some(whole(number).map_or(number.into(), Value::from))),
        Err(_) => serde_json::from_str(text).map_err(D::Error::custom),
    }
}

/// A number without a fraction: JSON Schema takes 4.0 for an integer, so this does, too. One that is
/// too large for `i64` becomes the nearest that is not, which is out of range as well.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let nearest = number as i64;
    (number.fract() == 0.0 || number.is_infinite()).then_some(nearest)
}
