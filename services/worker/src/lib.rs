//! The worker consumes commands from RabbitMQ, stores them in Postgres, and publishes replies and events.
//!
//! ```text
//! RabbitMQ ──▶ queue ──▶ process ──▶ store ──▶ Postgres
//!                │  ▲       │                    │
//!                │  └───────┘ outcomes           │ outbox
//!                ▼                               ▼
//!             publish (replies, parked commands, events) ──▶ RabbitMQ
//! ```
//!
//! Only `queue`, `publish` and `replay` use AMQP. Only `store` and `migrate` use SQL. `process` uses
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
