//! The parameters of a GraphQL request, from a body or a query string.

use async_graphql::Variables;
use async_graphql_value::ConstValue;
use serde::{Deserialize, de::IgnoredAny};

use super::rejection::Rejection;
use crate::graphql::document::has_too_many_values;

/// The parameters of a GraphQL request.
pub(super) struct Params {
    pub query: String,
    pub variables: Variables,
    pub operation_name: Option<String>,
}

/// As they were sent.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    query: Option<ConstValue>,
    variables: Option<ConstValue>,
    operation_name: Option<ConstValue>,
    extensions: Option<ConstValue>,
}

impl Params {
    pub fn of_body(body: &[u8]) -> Result<Self, Rejection> {
        if has_too_many_values(body) {
            return Err(too_many_values());
        }
        // A struct could also be read from a list.
        let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match serde_json::from_slice(body) {
            Ok(sent) if is_object => Self::of(sent),
            _ if serde_json::from_slice::<IgnoredAny>(body).is_err() => Err(
                Rejection::bad_request("The body must be valid JSON. Nothing was saved."),
            ),
            _ if !is_object => Err(Rejection::bad_request(
                "The body must be one JSON object; batches are not served. Nothing was saved.",
            )),
            _ => Err(Rejection::bad_request(
                "The parameters can't be read. Nothing was saved.",
            )),
        }
    }

    pub fn of_query(query: &str) -> Result<Self, Rejection> {
        let mut sent = Sent::default();
        for (name, value) in reqwest::Url::parse(&format!("http://q/?{query}"))
            .map_err(|_| Rejection::bad_request("The query string can't be read."))?
            .query_pairs()
        {
            let json = || {
                if has_too_many_values(value.as_bytes()) {
                    return Err(too_many_values());
                }
                serde_json::from_str(&value).map_err(|_| {
                    Rejection::bad_request("variables and extensions must be valid JSON.")
                })
            };
            match name.as_ref() {
                "query" => sent.query = Some(ConstValue::String(value.into_owned())),
                "operationName" => {
                    sent.operation_name = Some(ConstValue::String(value.into_owned()));
                }
                "variables" => sent.variables = Some(json()?),
                "extensions" => sent.extensions = Some(json()?),
                _ => {}
            }
        }
        Self::of(sent)
    }

    fn of(sent: Sent) -> Result<Self, Rejection> {
        let Some(ConstValue::String(query)) = sent.query else {
            return Err(Rejection::bad_request(
                "query is required and must be a string. Nothing was saved.",
            ));
        };
        let (Some(ConstValue::Object(_) | ConstValue::Null) | None) = sent.variables else {
            return Err(Rejection::bad_request(
                "variables must be an object. Nothing was saved.",
            ));
        };
        let operation_name = match sent.operation_name {
            Some(ConstValue::String(name)) => Some(name),
            None | Some(ConstValue::Null) => None,
            Some(_) => {
                return Err(Rejection::bad_request(
                    "operationName must be a string. Nothing was saved.",
                ));
            }
        };
        let (Some(ConstValue::Object(_) | ConstValue::Null) | None) = sent.extensions else {
            return Err(Rejection::bad_request(
                "extensions must be an object. Nothing was saved.",
            ));
        };
        Ok(Self {
            query,
            variables: Variables::from_value(sent.variables.unwrap_or_default()),
            operation_name,
        })
    }
}

fn too_many_values() -> Rejection {
    Rejection::bad_request("The parameters have too many values. Nothing was saved.")
}
