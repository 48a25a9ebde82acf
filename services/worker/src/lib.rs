//! The worker: commands in, rows, replies and events out.
//!
//! ```text
//! RabbitMQ ──▶ queue ──▶ process ──▶ store ──▶ Postgres
//!                │  ▲       │                    │
//!                │  └───────┘ outcomes           │ outbox
//!                ▼                               ▼
//!             publish (replies, parked commands, events) ──▶ RabbitMQ
//! ```
//!
//! Only `queue`, `publish` and `replay` know AMQP; only `store` and `migrate` know SQL; `process` knows
//! neither.

mod batch_trace;
mod byte_budget;
pub mod change;
pub mod config;
mod failpoint;
pub mod health;
pub mod metrics;
pub mod migrate;
pub mod process;
pub mod publish;
pub mod publisher_acl;
pub mod queue;
pub mod replay;
pub mod retention;
pub mod store;
