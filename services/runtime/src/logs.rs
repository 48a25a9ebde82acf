//! Writes log lines to standard error, as text or as JSON with the same fields.

use std::{io::IsTerminal as _, time::Duration};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The default of `RUST_LOG`. The crates of OpenTelemetry log only warnings and errors.
const DEFAULT: &str = "info,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn,opentelemetry_http=warn";

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A duration as the value of a log field: in milliseconds, with microseconds as decimals.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    f64::from(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)) / 1e3
}

/// Starts logging, with the filter in `RUST_LOG`. lapin's log lines are always off: they contain message
/// bodies.
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
