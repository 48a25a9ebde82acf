//! The published GraphQL API: its schema, the analysis of documents, and the texts of errors. Only
//! this folder and `http` know async-graphql's types.

pub mod command_status;
pub mod document;
pub mod error_text;
pub mod errors;
pub mod lists;
pub mod schema;
pub mod subscription;
pub mod types;
