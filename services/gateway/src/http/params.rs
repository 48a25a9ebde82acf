//! The parameters of a GraphQL request, from a body or a query string.

use async_graphql::Variables;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::refused::Refused;

/// The parameters of a GraphQL request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params {
    pub query: String,
    #[serde(default)]
    pub variables: Variables,
    #[serde(default)]
    pub operation_name: Option<String>,
}

impl Params {
    pub fn of_body(body: &[u8]) -> Result<Self, Refused> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|_| Refused::bad_request("The body must be valid JSON. Nothing was saved."))?;
        match value {
            Value::Object(params) => Self::of_object(params),
            _ => Err(Refused::bad_request(
                "The body must be one JSON object; batches are not served. Nothing was saved.",
            )),
        }
    }

    pub fn of_query(query: &str) -> Result<Self, Refused> {
        let mut params = Map::new();
        for (name, value) in reqwest::Url::parse(&format!("http://q/?{query}"))
            .map_err(|_| Refused::bad_request("The query string can't be read."))?
            .query_pairs()
        {
            let value = match name.as_ref() {
                "query" | "operationName" => Value::String(value.into_owned()),
                "variables" | "extensions" => serde_json::from_str(&value).map_err(|_| {
                    Refused::bad_request("variables and extensions must be valid JSON.")
                })?,
                _ => continue,
            };
            params.insert(name.into_owned(), value);
        }
        Self::of_object(params)
    }

    fn of_object(params: Map<String, Value>) -> Result<Self, Refused> {
        let is = |name: &str, valid: fn(&Value) -> bool| params.get(name).is_none_or(valid);
        if !params.get("query").is_some_and(Value::is_string) {
            return Err(Refused::bad_request(
                "query is required and must be a string. Nothing was saved.",
            ));
        }
        if !is("variables", |value| value.is_null() || value.is_object()) {
            return Err(Refused::bad_request(
                "variables must be an object. Nothing was saved.",
            ));
        }
        if !is("operationName", |value| {
            value.is_null() || value.is_string()
        }) {
            return Err(Refused::bad_request(
                "operationName must be a string. Nothing was saved.",
            ));
        }
        if !is("extensions", |value| value.is_null() || value.is_object()) {
            return Err(Refused::bad_request(
                "extensions must be an object. Nothing was saved.",
            ));
        }
        serde_json::from_value(Value::Object(params))
            .map_err(|_| Refused::bad_request("The parameters can't be read. Nothing was saved."))
    }
}
