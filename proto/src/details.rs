//! `oauthConnectorDetails`: the JSON text that says how the access token is generated.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use url::Url;

use crate::{
    error::CommandError,
    fields::ClientId,
    masking::{
        self,
        json::{self, Member, Value},
    },
    secret::ClientSecret,
};

/// The longest text that is accepted, in bytes, before and after its secrets are masked.
pub const MAX_BYTES: usize = 64 * 1024;
/// How deep its objects and arrays may be nested, the outermost object included.
pub const MAX_DEPTH: usize = 32;

/// The details with every secret in them masked, and otherwise byte for byte as submitted: a JSON
/// object of at most 64 KiB, nested at most 32 deep, in which `baseURL`, `companyId`, `clientId`
/// (strings), `authParams` and `accessTokenParams` (objects) are optional and of their type, and
/// `baseURL` is empty or an absolute http or https URL.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OauthConnectorDetails(String);

impl OauthConnectorDetails {
    /// The field's name in the published API and on the wire.
    pub const FIELD: &'static str = "oauthConnectorDetails";

    /// Checks a text and masks its secrets. The submitted client secret is looked for too, unless
    /// it is the mask, the client id, or too short to be told from other text.
    ///
    /// # Errors
    /// Everything that is wrong with the text, all at once.
    pub fn new(
        text: &str,
        secret: &ClientSecret,
        client_id: Option<&ClientId>,
    ) -> Result<Self, Vec<CommandError>> {
        let members = check(text).map_err(faults)?;
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
            // A mask may stand where the host of a URL begins or ends. What is stored has to be what
            // can be saved again.
            check(&masked).map_err(faults)?;
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

    /// What is inside of the text is said, and no validator of JSON Schema looks at it.
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

/// What was submitted is free text; a log line is no place for it.
impl fmt::Debug for OauthConnectorDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OauthConnectorDetails({} bytes)", self.0.len())
    }
}

/// A rule that the text breaks, as a whole or under one of its keys.
struct Broken {
    key: Option<&'static str>,
    rule: &'static str,
}

fn faults(broken: Vec<Broken>) -> Vec<CommandError> {
    let fault = |Broken { key, rule }: Broken| CommandError {
        key: key.map(ToOwned::to_owned),
        ..CommandError::value(OauthConnectorDetails::FIELD, rule)
    };
    broken.into_iter().map(fault).collect()
}

/// The members of the object that a text is.
fn check(text: &str) -> Result<Vec<Member<'_>>, Vec<Broken>> {
    let whole = |rule| Err(vec![Broken { key: None, rule }]);
    if text.trim().is_empty() {
        return whole("must not be empty or blank");
    }
    if text.len() > MAX_BYTES {
        return whole("must be at most 65536 bytes of UTF-8");
    }
    if json::depth(text) > MAX_DEPTH {
        return whole("must not be nested more than 32 deep");
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return whole("must be valid JSON");
    }
    let Value::Object(members) = json::read(text) else {
        return whole("must be a JSON object");
    };
    let mut broken: Vec<Broken> = Vec::new();
    for (key, rule) in members
        .iter()
        .filter_map(|member| named_key(text, &member.key, &member.value))
    {
        // Once for each key: a text has place for thousands of the same.
        if broken.iter().all(|known| known.rule != rule) {
            let key = Some(key);
            broken.push(Broken { key, rule });
        }
    }
    if broken.is_empty() {
        Ok(members)
    } else {
        Err(broken)
    }
}

/// The rule that one of the five named keys breaks.
fn named_key(text: &str, key: &str, value: &Value<'_>) -> Option<(&'static str, &'static str)> {
    let (key, rule) = match (key, value) {
        ("baseURL", Value::String(place)) => {
            // Most connector types have no base URL, and their page sends an empty one.
            if place.is_empty() || is_web_url(&json::decode(&text[place.clone()]).text) {
                return None;
            }
            (
                "baseURL",
                "must hold an absolute http or https URL, or an empty string, as its baseURL",
            )
        }
        ("companyId" | "clientId", Value::String(_))
        | ("authParams" | "accessTokenParams", Value::Object(_)) => return None,
        ("baseURL", _) => ("baseURL", "must hold a string as its baseURL"),
        ("companyId", _) => ("companyId", "must hold a string as its companyId"),
        ("clientId", _) => ("clientId", "must hold a string as its clientId"),
        ("authParams", _) => ("authParams", "must hold an object as its authParams"),
        ("accessTokenParams", _) => (
            "accessTokenParams",
            "must hold an object as its accessTokenParams",
        ),
        _ => return None,
    };
    Some((key, rule))
}

/// Parsers forgive much that a person did not mean (`https:host`, white space); the API does not.
fn is_web_url(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && Url::parse(text).is_ok_and(|url| url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let checked = OauthConnectorDetails::new(text, &ClientSecret::default(), None);
        let faults = checked.err().into_iter().flatten();
        faults.map(|fault| fault.message).collect()
    }

    #[test]
    fn a_base_url_is_empty_or_of_the_web() {
        for accepted in ["", "https://host", "HTTP://host:80/a?b=c#d"] {
            assert_eq!(
                faults(&format!(r#"{{"baseURL":"{accepted}"}}"#)),
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
                faults(&format!(r#"{{"baseURL":"{refused}"}}"#)).len(),
                1,
                "{refused}"
            );
        }
        for refused in ["null", "5", "[\"\"]"] {
            assert_eq!(
                faults(&format!(r#"{{"baseURL":{refused}}}"#)).len(),
                1,
                "{refused}"
            );
        }
    }

    #[test]
    fn a_fault_is_told_once_however_often_it_is_there() {
        let text = format!(
            "{{{}\"baseURL\":\" \",\"clientId\":5}}",
            "\"baseURL\":5,".repeat(1000)
        );

        assert_eq!(faults(&text).len(), 3, "{:?}", faults(&text));
    }
}
