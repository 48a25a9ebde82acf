//! The client secret: it can be read, compared and dropped, and never written.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::CommandError;

/// The text that replaces every secret in messages, in the database and in answers.
pub const MASK: &str = "dummyClientSecret";

/// The longest secret, in bytes. It has room for a PEM key.
pub const MAX_BYTES: usize = 16 * 1024;

/// A client secret. JSON, `Debug` and `Display` write [`MASK`] instead of it, and its memory is zeroed when it
/// is dropped.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

impl ClientSecret {
    /// The name of the field in the API and in messages.
    pub const FIELD: &'static str = "clientSecret";

    /// Validates a secret as the user entered it, or the mask.
    ///
    /// # Errors
    /// The secret is blank, or longer than 16 KiB.
    pub fn new(value: impl Into<SecretString>) -> Result<Self, CommandError> {
        let value = value.into();
        let text = value.expose_secret();
        if text.trim().is_empty() {
            return Err(CommandError::value(
                Self::FIELD,
                "must not be empty or blank",
            ));
        }
        if text.len() > MAX_BYTES {
            return Err(CommandError::value(
                Self::FIELD,
                "must be at most 16384 bytes of UTF-8",
            ));
        }
        Ok(Self(value))
    }

    /// The secret itself, only for the search that removes it from the details.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl JsonSchema for ClientSecret {
    fn schema_name() -> Cow<'static, str> {
        "ClientSecret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The mask, dummyClientSecret. A real secret is accepted, masked before it \
                            is stored, and stays on the broker's disk: don't send one.",
            "minLength": 1,
            "maxLength": MAX_BYTES,
            "pattern": r"\S",
            "writeOnly": true,
            "examples": [MASK],
        })
    }
}

impl Default for ClientSecret {
    fn default() -> Self {
        Self(MASK.into())
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for ClientSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for ClientSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?)
            .map_err(|error| serde::de::Error::custom(error.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_secret_writes_the_mask() -> anyhow::Result<()> {
        let secret: ClientSecret = serde_json::from_str(r#""s3cret-s3cret""#)?;

        assert_eq!(serde_json::to_string(&secret)?, format!("{MASK:?}"));
        assert_eq!(format!("{secret} {secret:?}"), format!("{MASK} {MASK}"));
        assert_eq!(format!("{:?}", Some(secret)), format!("Some({MASK})"));
        Ok(())
    }
}
