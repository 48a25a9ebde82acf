//! The parts that both services need to run. None of them knows connectors.
//!
//! They are the connection to the broker, the loop that keeps it open, settings, the stop signal, health, and
//! what an operator sees of a service: log lines, metrics for Prometheus, spans for OTLP.
//!
//! No log line, metric or span ever holds a message body, an environment variable or the value of a
//! request header.

pub mod broker;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod queue_depth;
pub mod settings;
pub mod stop;
pub mod supervise;
pub mod traces;
