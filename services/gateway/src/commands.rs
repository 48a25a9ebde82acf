//! Sends commands to the worker and returns their outcomes.
//!
//! [`submit`] sends one command and returns its outcome. [`client`] publishes the command and waits
//! for the reply. [`pending`] holds the requests that wait for a reply. `connection` keeps a session
//! with RabbitMQ open, `session` runs it, and `publish` publishes one command in it.

pub mod client;
mod connection;
pub mod idempotency;
pub mod pending;
mod publish;
mod session;
pub mod submit;
