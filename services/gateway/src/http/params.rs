//! Reads the parameters of a GraphQL request from a body or a query string.

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

/// The parameters before their types are checked.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawParams {
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
        // serde can also read a struct from a list.
        let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        match serde_json::from_slice(body) {
            Ok(raw) if is_object => Self::validate(raw),
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
        let mut raw = RawParams::default();
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
                "query" => raw.query = Some(ConstValue::String(value.into_owned())),
                "operationName" => {
                    raw.operation_name = Some(ConstValue::String(value.into_owned()));
                }
                "variables" => raw.variables = Some(json()?),
                "extensions" => raw.extensions = Some(json()?),
                _ => {}
            }
        }
        Self::validate(raw)
    }

    fn validate(raw: RawParams) -> Result<Self, Rejection> {
        let Some(ConstValue::String(query)) = raw.query else {
            return Err(Rejection::bad_request(
                "query is required and must be a string. Nothing was saved.",
            ));
        };
        let (Some(ConstValue::Object(_) | ConstValue::Null) | None) = raw.variables else {
            return Err(Rejection::bad_request(
                "variables must be an object. Nothing was saved.",
            ));
        };
        let operation_name = match raw.operation_name {
            Some(ConstValue::String(name)) => Some(name),
            None | Some(ConstValue::Null) => None,
            Some(_) => {
                return Err(Rejection::bad_request(
                    "operationName must be a string. Nothing was saved.",
                ));
            }
        };
        let (Some(ConstValue::Object(_) | ConstValue::Null) | None) = raw.extensions else {
            return Err(Rejection::bad_request(
                "extensions must be an object. Nothing was saved.",
            ));
        };
        Ok(Self {
            query,
            // Missing variables become null, which stands for no variables.
            variables: Variables::from_value(raw.variables.unwrap_or_default()),
            operation_name,
        })
    }
}

fn too_many_values() -> Rejection {
    Rejection::bad_request("The parameters have too many values. Nothing was saved.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_must_be_one_object_with_a_query() {
        for body in [
            "",
            "null",
            "[]",
            r#"["{ a }"]"#,
            r#"[{"query":"{ a }"}]"#,
            "{}",
            r#"{"query":7}"#,
            r#"{"query":"{ a }"} x"#,
            r#"{"query":"{ a }","variables":[]}"#,
            r#"{"query":"{ a }","operationName":7}"#,
            r#"{"query":"{ a }","extensions":"x"}"#,
        ] {
            assert!(Params::of_body(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_body_and_a_query_string_have_the_same_parameters() {
        let body = r#" {"query":"{ a }","variables":{"b":1},"operationName":null,"more":2}"#;
        let query = "query=%7B+a+%7D&variables=%7B%22b%22%3A1%7D&more=2";
        for params in [Params::of_body(body.as_bytes()), Params::of_query(query)] {
            let read = params.ok().map(|params| {
                let b = params.variables.get("b").cloned();
                (params.query, b, params.operation_name)
            });
            let expected = ("{ a }".to_owned(), Some(ConstValue::from(1)), None);
            assert_eq!(read, Some(expected));
        }
    }
}
