//! The media types of answers.

/// The default.
pub(super) const JSON: &str = "application/json";
/// The media type of the GraphQL over HTTP specification. With it, a request error has an HTTP error
/// status.
pub(super) const GRAPHQL_JSON: &str = "application/graphql-response+json";
