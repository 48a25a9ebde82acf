//! Log lines, on standard error: for people, or as JSON with the same fields.

use std::{io::IsTerminal as _, time::Duration};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What is written without `RUST_LOG`: of OpenTelemetry's own parts, only what went wrong.
const DEFAULT: &str = "info,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn,opentelemetry_http=warn";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A duration as a field: milliseconds, to the microsecond.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

/// Starts the log. `RUST_LOG` says how much of it; never lapin's part, which writes message bodies.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(DEFAULT))
        .add_directive("lapin=off".parse().unwrap_or_default());
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(terminal).init();
    }
}
