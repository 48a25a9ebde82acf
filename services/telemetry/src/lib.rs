//! What an operator sees of a service: log lines, metrics for Prometheus, and spans for OTLP.
//!
//! Which metrics and spans there are is each service's own affair; here is how they get out. None
//! of them ever holds a body, a variable or a header of a request.

pub mod logs;
pub mod metrics;
pub mod queues;
pub mod traces;
