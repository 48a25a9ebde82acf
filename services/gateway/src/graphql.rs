//! The published GraphQL API: its schema, the analysis of documents, and the texts of errors. Only
//! this module and `http` use the types of async-graphql.

pub mod command_status;
pub mod document;
pub mod error_text;
pub mod errors;
pub mod history;
pub mod lists;
pub(crate) mod pagination;
pub mod schema;
pub mod subscription;
pub mod types;
