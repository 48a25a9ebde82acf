//! The expected revision of a command, and how its number is read from JSON.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, value::RawValue};

use crate::error::{CommandError, EXPECTED_REVISION};

/// The revision that a record must have for a command to take effect. 0: the record must not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ExpectedRevision(i64);

impl ExpectedRevision {
    /// The name of the field in the API and in messages.
    pub const FIELD: &'static str = EXPECTED_REVISION;

    /// The largest revision, 2^53 - 1. Programs that read JSON numbers as floats can't distinguish larger
    /// whole numbers.
    pub const MAX: i64 = 9_007_199_254_740_991;

    /// Validates a revision.
    ///
    /// # Errors
    /// The number is negative, or larger than [`Self::MAX`].
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

/// Reads a value, and reads each number without a fraction as an integer, also `4.0` and `4e2`. It parses the
/// text itself because `serde_json` rounds 9007199254740991.0, unless its slower `float_roundtrip` feature is on
/// for the whole build.
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

/// A number without a fraction, as an integer. JSON Schema counts 4.0 as an integer, too. A number that is too
/// large for `i64` becomes the nearest `i64`, which is out of the range of revisions as well.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let nearest = number as i64;
    (number.fract() == 0.0 || number.is_infinite()).then_some(nearest)
}
