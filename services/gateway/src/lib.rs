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
pub mod commands;
pub mod config;
pub mod error_code;
pub mod events;
pub mod graphql;
pub mod http;
pub mod limits;
mod log_throttle;
pub mod metrics;
pub mod parsers;
pub mod records;
pub mod server;
