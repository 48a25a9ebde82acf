//! The worker: command in, row and answer out.
//!
//! ```text
//! consumer ──▶ lanes ──▶ settle ──▶ handler ──▶ batch ──▶ store ──▶ Postgres
//!     ├── retries (what waits for a locked record) ──▶ settle
//!     │            └─▶ answers (replies, parked commands) ──▶ RabbitMQ
//!     ├── dead (what the broker gave up on) ──▶ answers
//!     └── events (what was committed) ──▶ answers
//! ```
//!
//! `metrics` and `spans` name what is seen of it.
//!
//! Only `store` and `schema` know SQL; only `consumer`, `settle`, `answers`, `dead` and `replay` know AMQP.

pub mod answers;
mod batch;
pub mod config;
pub mod consumer;
mod dead;
pub mod events;
mod failpoint;
pub mod handler;
pub mod health;
mod lanes;
pub mod metrics;
pub mod publishers;
pub mod replay;
pub mod retention;
mod retries;
pub mod schema;
mod set_aside;
mod settle;
mod spans;
pub mod store;
