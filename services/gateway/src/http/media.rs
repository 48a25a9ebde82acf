//! The media types of answers.

/// What clients that name no other type get.
pub(super) const JSON: &str = "application/json";
/// GraphQL over HTTP: a request error is an HTTP error, too.
pub(super) const GRAPHQL_JSON: &str = "application/graphql-response+json";
