//! The queue of commands: deliveries in, acknowledgements out.
//!
//! ```text
//! consumer ──▶ incoming ──▶ batcher ──▶ process (and store) ──▶ consumer ──▶ publish
//!                │ refused      ▲            │ locked               └──────▶ acks
//!                ▼              └─ retries ◀─┘
//!             publish
//! ```
//!
//! `batcher`, `set_aside` and `acks` know neither AMQP nor SQL. `dead_letters` moves what the broker gave
//! up to `.parked`.

mod acks;
mod batch;
mod batcher;
pub mod consumer;
pub mod context;
pub mod dead_letters;
pub(crate) mod death;
pub mod incoming;
mod retries;
mod session;
mod set_aside;
mod topology_watch;
mod unreadable;

use proto::command;

/// The largest body that is read. A command's is smaller, even if all of it is escaped.
const MAX_BODY_BYTES: u64 = command::MAX_BODY_BYTES as u64;
