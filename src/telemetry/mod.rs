//! What operators see while it runs: structured logs on standard error. Metrics are kept by the rooms that count.
//!
//! A thread of its own writes them ([`lines`]): whoever logs never waits for whoever reads, and loses lines instead.

mod lines;

use std::io::IsTerminal as _;

pub use lines::{finish, register, say};

use serde::Deserialize;
use tracing::level_filters::LevelFilter;

/// The `telemetry` section of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Logs on standard error.
    pub log: LogConfig,
}

/// How logs look and how much they say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `json` for machines, `text` for people.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Aligned text.
    Text,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may need one soon.
    Warn,
    /// And what the process does.
    #[default]
    Info,
    /// And repeated failures.
    Debug,
    /// And everything else.
    Trace,
}

impl Config {
    /// Starts writing logs to standard error, panics included, until [`finish`]. Only the first call in a process has an
    /// effect.
    pub fn start_logging(&self) {
        let Some(lines) = lines::start() else {
            return;
        };
        let level = match self.log.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        let builder = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(lines)
            // It would say so on standard error, and panic where that can't be written: whatever collects logs may go away.
            .log_internal_errors(false)
            // Colours are for a person at a terminal, not for a file.
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        // A second subscriber is refused; the first stays in force.
        let _started = match self.log.format {
            LogFormat::Json => builder.json().flatten_event(true).try_init(),
            LogFormat::Text => builder.try_init(),
        };
        // The usual one writes to standard error itself, and waits for it.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            let payload = panic.payload();
            let formatted = payload.downcast_ref().map(String::as_str);
            let words = formatted.or_else(|| payload.downcast_ref().copied());
            tracing::error!(place, words, "a thread panicked");
        }));
    }
}
