//! The opaque ids of a command. A value that exists is valid: the only way in is the check.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// What is wrong with a value, as the end of a sentence that the field's name begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Empty, or white space and nothing else.
    #[error("must not be empty or blank")]
    Blank,
    /// Longer than the field takes, counted in bytes of UTF-8.
    #[error("must be at most {0} bytes of UTF-8")]
    TooLong(usize),
    /// A control character: none of these ids is shown or stored with one.
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

/// The rules of a field as JSON Schema has them: it counts characters, of which there are at most as
/// many as bytes.
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
            /// The field's name in the published API and on the wire.
            pub const FIELD: &'static str = $field;

            /// Takes a value that keeps the field's rules.
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

            /// The value as it was submitted.
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
                Self::new(value).map_err(|fault| fault.message)
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
