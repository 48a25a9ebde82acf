//! The gateway: GraphQL in, command out, answer back; and reads.
//!
//! ```text
//! http ──▶ auth ──▶ schema ──▶ decide ─▶ commands ──▶ RabbitMQ
//!                     │          └─────▶ records ───▶ Postgres (select only)
//!                     └────────────────▶ records
//! ```
//!
//! `changes` brings what others saved to those who subscribed. A request goes down once and comes
//! back once. `server` accepts connections and limits them. Only `records` knows SQL, only `commands`, `link` and
//! `changes` know AMQP, only `server`, `http`, `health` and `pages` know HTTP. `console` is the page for people, `graphiql` the one for
//! developers. `metrics` names what is counted.

pub mod app;
pub mod auth;
pub mod changes;
pub mod code;
pub mod command_id;
pub mod commands;
pub mod config;
pub mod console;
pub mod decide;
pub mod document;
pub mod failure;
mod frame;
pub mod graphiql;
pub mod health;
pub mod http;
pub mod limits;
mod link;
pub mod metrics;
pub mod pages;
pub mod parsers;
pub mod records;
pub mod schema;
mod seldom;
pub mod server;
pub mod token;
mod validation;
