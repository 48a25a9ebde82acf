//! The opaque ids of a command. Each type validates in its only constructor, so every value is valid.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// The rule that a value breaks. Its text completes a sentence that starts with the name of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The value is empty or only white space.
    #[error("must not be empty or blank")]
    Blank,
    /// The value has more bytes of UTF-8 than the field allows.
    #[error("must be at most {0} bytes of UTF-8")]
    TooLong(usize),
    /// The value has a control character.
    #[error("must not contain control characters")]
    Control,
}

pub(crate) fn check(value: &str, max_bytes: usize) -> Result<(), Rule> {
    if value.trim().is_empty() {
        return Err(Rule::Blank);
    }
    if value.len() > max_bytes {
        return Err(Rule::TooLong(max_bytes));
    }
    if value.chars().any(char::is_control) {
        return Err(Rule::Control);
    }
    Ok(())
}

/// The rules of a field as JSON Schema. Schemas count characters, not bytes. A text never has more characters
/// than bytes, so the schema accepts every valid value.
pub(crate) fn opaque_text(description: &str, max_bytes: usize) -> Schema {
    json_schema!({
        "type": "string",
        "description": description.trim(),
        "minLength": 1,
        "maxLength": max_bytes,
        "pattern": r"^(?=.*\S)[^\u0000-\u001f\u007f-\u009f]*$",
    })
}

macro_rules! opaque {
    ($(#[doc = $doc:literal])* $name:ident, $field:literal, $max_bytes:literal) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name of the field in the API and in messages.
            pub const FIELD: &'static str = $field;

            /// Validates a value.
            ///
            /// # Errors
            /// The [`CommandError`] names the field and the rule.
            pub fn new(value: impl Into<String>) -> Result<Self, CommandError> {
                let value = value.into();
                match check(&value, $max_bytes) {
                    Ok(()) => Ok(Self(value)),
                    Err(rule) => Err(CommandError::value(Self::FIELD, &rule.to_string())),
                }
            }

            /// The value, unchanged.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                opaque_text(concat!($($doc),*), $max_bytes)
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(value: String) -> Result<Self, String> {
                Self::new(value).map_err(|error| error.message)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

opaque!(
    /// The Integration Pack instance that is being configured: opaque, 1 to 255 bytes.
    IntegrationPackInstanceId, "integrationPackInstanceId", 255
);
opaque!(
    /// The process in the Integration Pack: opaque, 1 to 255 bytes.
    ProcessId, "processId", 255
);
opaque!(
    /// The environment of the configuration: opaque, 1 to 255 bytes.
    EnvId, "envId", 255
);
opaque!(
    /// The connection in the process: opaque, 1 to 255 bytes.
    ConnectionId, "connectionId", 255
);
opaque!(
    /// The Space that owns a record: opaque, 1 to 255 bytes. The published sample is no whole
    /// UUID, so it is never parsed as one.
    CatalogGuid, "catalogGuid", 255
);
opaque!(
    /// The client's key from the identity provider: 1 to 1,024 bytes. No secret.
    ClientId, "clientId", 1024
);
opaque!(
    /// The idempotency key of a command, unique in its Space: opaque, 1 to 255 bytes, which is
    /// what an AMQP `message_id` can hold.
    CommandId, "message_id", 255
);
