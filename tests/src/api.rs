//! A client of the GraphQL API.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

/// The Space of the published sample.
pub const SPACE: &str = dev::up::SPACE;
/// Signs the tokens of tests.
pub const SECRET: &str = "a secret of at least thirty-two bytes";

/// The published mutation. Its input is a variable, and it selects all fields.
pub const SAVE: &str = "mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
    saveIPackInstanceOauthConnectorDetails(input: $input) {
        id integrationPackInstanceId isTokenGenerated oauthConnectorDetails processId envId
        connectionId catalogGuid clientId revision updatedAt updatedBy
    }
}";

/// The published query. Its input is a variable, and it selects all fields.
pub const FIND: &str = "query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    IPackInstanceOAuthConnectorDetails(input: $input) {
        id integrationPackInstanceId isTokenGenerated oauthConnectorDetails processId envId
        connectionId catalogGuid clientId revision updatedAt updatedBy
    }
}";

/// The input of the published sample.
#[must_use]
pub fn sample() -> Value {
    json!({
        "integrationPackInstanceId": "test-101",
        "isTokenGenerated": false,
        "oauthConnectorDetails": r#"{"baseURL":"https://baseURL.com","companyId":"9341452451293689","clientId":"A","authParams":{"key":"value"},"accessTokenParams":{"key":"value"}}"#,
        "processId": "1",
        "envId": "2",
        "connectionId": "3",
        "catalogGuid": SPACE,
        "clientId": "dummyClientId",
        "clientSecret": "dummyValue",
    })
}

/// The sample with one field changed.
#[must_use]
pub fn sample_with(field: &str, value: impl Into<Value>) -> Value {
    let mut input = sample();
    input[field] = value.into();
    input
}

/// The five ids of an input.
#[must_use]
pub fn key(input: &Value) -> Value {
    json!({
        "integrationPackInstanceId": input["integrationPackInstanceId"],
        "processId": input["processId"],
        "envId": input["envId"],
        "connectionId": input["connectionId"],
        "catalogGuid": input["catalogGuid"],
    })
}

/// An answer of the gateway.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// A header's text; empty without the header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The record of a successful save or read.
    ///
    /// # Errors
    /// The answer has errors.
    pub fn record(&self) -> anyhow::Result<Value> {
        anyhow::ensure!(self.body.get("errors").is_none(), "{}", self.body);
        let data = self.body["data"].as_object().context("no data")?;
        data.values().next().cloned().context("no field")
    }

    /// The codes of the errors and the fields that they name.
    #[must_use]
    pub fn errors(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.body["errors"]
            .as_array()
            .map_or_else(Vec::new, |errors| {
                errors
                    .iter()
                    .map(|error| &error["extensions"])
                    .map(|extensions| (text(&extensions["code"]), text(&extensions["field"])))
                    .collect()
            })
    }

    /// The code of the only error.
    #[must_use]
    pub fn code(&self) -> String {
        match self.errors().as_slice() {
            [(code, _)] => code.clone(),
            other => format!("{other:?} in {}", self.body),
        }
    }
}

/// A client with a token for one Space.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    url: String,
    headers: Vec<(&'static str, String)>,
}

impl Api {
    /// A client of the gateway at `url`.
    ///
    /// # Errors
    /// No token can be made.
    pub fn new(url: &str, space: &str) -> anyhow::Result<Self> {
        Self::for_subject(url, space, "tester")
    }

    /// A client for this subject.
    ///
    /// # Errors
    /// No token can be made.
    pub fn for_subject(url: &str, space: &str, subject: &str) -> anyhow::Result<Self> {
        let token = gateway::auth::dev_token::sign(SECRET, space, subject, Duration::from_mins(5))?;
        Ok(Self {
            client: reqwest::Client::new(),
            url: format!("{url}/graphql"),
            headers: vec![
                ("space_guid", space.to_owned()),
                ("authorization", format!("Bearer {token}")),
                ("accept", "application/json".to_owned()),
                ("content-type", "application/json".to_owned()),
            ],
        })
    }

    /// The same client with a header set, or replaced.
    #[must_use]
    pub fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        self.without(name).and(name, value)
    }

    /// The same client with one more header, even if the name exists.
    #[must_use]
    pub fn and(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut other = self.clone();
        other.headers.push((name, value.into()));
        other
    }

    /// The same client without a header.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(known, _)| *known != name);
        other
    }

    /// Opens the event stream of a subscription.
    ///
    /// # Errors
    /// The gateway does not answer.
    pub async fn stream(&self, body: Value) -> anyhow::Result<reqwest::Response> {
        let mut request = self
            .client
            .post(format!("{}/stream", self.url))
            .header("content-type", "application/json")
            .header("accept", "text/event-stream")
            .body(body.to_string());
        for (name, value) in &self.headers {
            if !["content-type", "accept"].contains(name) {
                request = request.header(*name, value);
            }
        }
        Ok(request.send().await?)
    }

    /// Sends a body as it is.
    ///
    /// # Errors
    /// No answer, or one that is not JSON.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> anyhow::Result<Answer> {
        self.send(self.client.post(&self.url).body(body)).await
    }

    /// Sends a query string.
    ///
    /// # Errors
    /// No answer, or one that is not JSON.
    pub async fn get(&self, parameters: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let url = reqwest::Url::parse_with_params(&self.url, parameters)?;
        self.send(self.client.get(url)).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: serde_json::from_slice(&answer.bytes().await?)?,
        })
    }

    /// Executes a document.
    ///
    /// # Errors
    /// As [`Api::post`].
    pub async fn execute(&self, query: &str, variables: Value) -> anyhow::Result<Answer> {
        let body = json!({ "query": query, "variables": variables });
        self.post(body.to_string()).await
    }

    /// Saves an input.
    ///
    /// # Errors
    /// As [`Api::post`].
    pub async fn save(&self, input: &Value) -> anyhow::Result<Answer> {
        self.execute(SAVE, json!({ "input": input })).await
    }

    /// Reads the record of an input's five ids.
    ///
    /// # Errors
    /// As [`Api::post`].
    pub async fn find(&self, input: &Value) -> anyhow::Result<Answer> {
        self.execute(FIND, json!({ "input": key(input) })).await
    }
}
