//! The queue of commands: receives deliveries and acknowledges them.
//!
//! ```text
//! consumer ──▶ incoming ──▶ batcher ──▶ process (and store) ──▶ session ──▶ publish
//!                │ refused      ▲            │ locked               └─────▶ acks
//!                ▼              └─ retries ◀─┘
//!             publish
//! ```
//!
//! A `session` uses one connection, from its opening to the first error. `batcher`, `locked_commands` and
//! `acks` use neither AMQP nor SQL. `dead_letters` moves dead-lettered commands to `.parked`.

mod acks;
mod batch;
mod batcher;
pub mod consumer;
pub mod context;
pub mod dead_letters;
pub(crate) mod death;
pub mod incoming;
mod locked_commands;
mod retries;
mod session;
mod topology_watch;
mod unreadable;

use proto::command;

/// The largest body that is read. The bodies of valid commands are smaller, even if every character is
/// escaped.
const MAX_BODY_BYTES: u64 = command::MAX_BODY_BYTES as u64;
