//! What both services need to run, and that knows no connector: the connection to the broker, settings,
//! and what an operator sees of a service (log lines, metrics for Prometheus, spans for OTLP).
//!
//! No log line, metric or span ever holds a body, a variable or a header of a request.

pub mod broker;
pub mod logs;
pub mod metrics;
pub mod queue_depth;
pub mod settings;
pub mod traces;
