//! `oauthConnectorDetails`: the JSON text that describes how an access token is generated.

mod check;

pub use self::check::{MAX_BYTES, MAX_DEPTH};

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use self::check::{Broken, check};
use crate::{error::CommandError, fields::ClientId, masking, secret::ClientSecret};

/// Valid details with every secret masked. Everything else is kept byte for byte.
///
/// They are the text of a JSON object of at most 64 KiB, nested at most 32 deep. `baseURL`, `companyId`,
/// `clientId` (strings), `authParams` and `accessTokenParams` (objects) are optional. `baseURL` is empty or an
/// absolute http or https URL.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OauthConnectorDetails(String);

impl OauthConnectorDetails {
    /// The name of the field in the API and in messages.
    pub const FIELD: &'static str = "oauthConnectorDetails";

    /// Validates a text and masks its secrets. It also searches for the submitted client secret, unless the
    /// secret is the mask, the client id, or so short that it would match other text by chance.
    ///
    /// # Errors
    /// All errors of the text at once.
    pub fn new(
        text: &str,
        secret: &ClientSecret,
        client_id: Option<&ClientId>,
    ) -> Result<Self, Vec<CommandError>> {
        let members = check(text).map_err(errors)?;
        let masked = masking::mask(
            text,
            &members,
            secret,
            client_id.map_or("", ClientId::as_str),
        );
        if masked.len() > MAX_BYTES {
            let rule = "must be at most 65536 bytes of UTF-8, its secrets masked";
            return Err(vec![CommandError::value(Self::FIELD, rule)]);
        }
        if masked != text {
            // Masking may change the host of `baseURL`. Stored details have to stay valid, so that a client
            // can save them again.
            check(&masked).map_err(errors)?;
        }
        Ok(Self(masked))
    }

    /// The masked text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl JsonSchema for OauthConnectorDetails {
    fn schema_name() -> Cow<'static, str> {
        "OauthConnectorDetails".into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// `contentSchema` documents the content of the text. Validators of JSON Schema ignore it.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The JSON text of an object, at most 64 KiB and nested at most 32 deep. \
                            Secrets in it are masked; everything else stays byte for byte.",
            "minLength": 2,
            "maxLength": MAX_BYTES,
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "properties": {
                    "baseURL": {
                        "type": "string",
                        "description": "Empty, as most connector types have none, or an absolute \
                                        http or https URL.",
                    },
                    "companyId": { "type": "string" },
                    "clientId": { "type": "string" },
                    "authParams": { "type": "object" },
                    "accessTokenParams": { "type": "object" },
                },
            },
        })
    }
}

/// Shows only the length: the text is free text that does not belong into a log line.
impl fmt::Debug for OauthConnectorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OauthConnectorDetails({} bytes)", self.0.len())
    }
}

fn errors(broken: Vec<Broken>) -> Vec<CommandError> {
    let error = |Broken { key, rule }: Broken| CommandError {
        key: key.map(ToOwned::to_owned),
        ..CommandError::value(OauthConnectorDetails::FIELD, rule)
    };
    broken.into_iter().map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let checked = OauthConnectorDetails::new(text, &ClientSecret::default(), None);
        let errors = checked.err().into_iter().flatten();
        errors.map(|error| error.message).collect()
    }

    #[test]
    fn a_base_url_is_empty_or_an_absolute_web_url() {
        for accepted in ["", "https://host", "HTTP://host:80/a?b=c#d"] {
            assert_eq!(
                errors(&format!(r#"{{"baseURL":"{accepted}"}}"#)),
                [""; 0],
                "{accepted}"
            );
        }
        for refused in [
            " ",
            "\\t",
            "\\u0000",
            "\\u200b",
            "host",
            "/",
            "https://",
            "ftp://host",
            " https://host",
        ] {
            assert_eq!(
                errors(&format!(r#"{{"baseURL":"{refused}"}}"#)).len(),
                1,
                "{refused}"
            );
        }
        for refused in ["null", "5", "[\"\"]"] {
            assert_eq!(
                errors(&format!(r#"{{"baseURL":{refused}}}"#)).len(),
                1,
                "{refused}"
            );
        }
    }

    #[test]
    fn a_rule_is_reported_once_even_if_many_members_break_it() {
        let text = format!(
            "{{{}\"baseURL\":\" \",\"clientId\":5}}",
            "\"baseURL\":5,".repeat(1000)
        );

        assert_eq!(errors(&text).len(), 3, "{:?}", errors(&text));
    }
}
