//! The client secret's short life: read in, compared, dropped.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::CommandError;

/// What is published, stored and answered in the place of every client secret.
pub const MASK: &str = "dummyClientSecret";

/// The longest secret that is accepted, in bytes. A PEM key fits.
pub const MAX_BYTES: usize = 16 * 1024;

/// A client secret on its way to being forgotten: it can be read in, compared and dropped, and
/// whatever writes it out - JSON, `Debug`, `Display` - writes [`MASK`]. Its memory is zeroed.
#[derive(Clone)]
pub struct ClientSecret(SecretString);

impl ClientSecret {
    /// The field's name in the published API and on the wire.
    pub const FIELD: &'static str = "clientSecret";

    /// Takes a secret as the user entered it, or the mask.
    ///
    /// # Errors
    /// Blank, or longer than 16 KiB.
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

    /// The secret itself, for the one who looks for it in order to remove it.
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
            .map_err(|fault| serde::de::Error::custom(fault.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_writes_a_secret_out_writes_the_mask() -> anyhow::Result<()> {
        let secret: ClientSecret = serde_json::from_str(r#""s3cret-s3cret""#)?;

        assert_eq!(serde_json::to_string(&secret)?, format!("{MASK:?}"));
        assert_eq!(format!("{secret} {secret:?}"), format!("{MASK} {MASK}"));
        assert_eq!(format!("{:?}", Some(secret)), format!("Some({MASK})"));
        Ok(())
    }
}
