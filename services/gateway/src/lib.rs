//! The gateway serves the GraphQL API: it sends saves and deletions to the worker as commands, and
//! reads records from the database.
//!
//! ```text
//! server ─▶ http ─▶ auth
//!            └────▶ graphql ─┬─▶ commands ─┬─▶ RabbitMQ (commands, replies)
//!                            │             └─▶ records (the ledger)
//!                            ├─▶ records ────▶ Postgres (select only)
//!                            └─▶ events ─────▶ RabbitMQ (events for subscriptions)
//! ```
//!
//! `server` accepts connections and limits their number. `limits` limits the requests of each subject.
//! Only `records` has SQL, only `commands` and `events` use AMQP, and only `server` and `http` use
//! HTTP. `http::pages` has the console for users and GraphiQL for developers. `metrics` has the names
//! of all metrics.

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
pub mod records;
pub mod server;
