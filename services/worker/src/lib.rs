//! The worker: command in, row and answer out.
//!
//! ```text
//! consumer ──▶ lanes ──▶ settle ──▶ handler ──▶ batch ──▶ store ──▶ Postgres
//!     ├── retries (what waits for a locked record) ──▶ settle
//!     │            └─▶ answers (replies, parked commands) ──▶ RabbitMQ
//!     └── events (what was committed) ──▶ answers
//! dead (what the broker gave up on) ──▶ answers
//! ```
//!
//! `metrics` and `spans` name what is seen of it.
//!
//! Only `store` and `schema` know SQL; only `consumer`, `settle`, `answers`, `parking`,
//! `dead` and `replay` know AMQP.

pub mod answers;
mod batch;
mod budget;
pub mod config;
pub mod consumer;
pub mod dead;
pub mod events;
mod failpoint;
pub mod handler;
pub mod health;
mod lanes;
pub mod metrics;
mod parking;
pub mod publishers;
pub mod replay;
pub mod retention;
mod retries;
pub mod schema;
mod set_aside;
mod settle;
mod spans;
pub mod store;
mod unreadable;
