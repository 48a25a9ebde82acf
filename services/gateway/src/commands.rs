//! Commands on their way to the worker, and their outcomes on the way back.
//!
//! [`submit`] sends one command and returns its outcome; [`client`] publishes it and waits; [`pending`]
//! holds the requests that wait; [`connection`] is the session with RabbitMQ.

pub mod client;
mod connection;
mod frame;
pub mod idempotency;
pub mod pending;
pub mod submit;
