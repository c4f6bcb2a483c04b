//! Logs of the process: structured events to stderr, filtered by target and level.

use std::io::IsTerminal as _;
use std::str::FromStr;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Text, Self::Json]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| format!("{text:?} is not one of text, json"))
    }
}

/// Why logging could not be started.
#[derive(Debug, Error)]
pub enum TelemetryError {
    #[error("log filter {filter:?}: {reason}")]
    Filter { filter: String, reason: String },
    #[error("logging was started already")]
    Started,
}

/// Checks a filter such as `info` or `info,tidelog_store=debug`.
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(filter)
        .map_err(|error| TelemetryError::Filter { filter: filter.to_owned(), reason: error.to_string() })
}

/// Sends the process's events to stderr from here on. Standard output stays free for results.
///
/// `quiet` lists targets that say much that is of interest to their own authors only, with the level from
/// which on they are shown all the same; a filter that names such a target overrides this.
pub fn init(filter: &str, format: LogFormat, quiet: &[(&str, &str)]) -> Result<(), TelemetryError> {
    let unnamed = quiet.iter().filter(|(target, _)| !filter.contains(target));
    let directives = unnamed.map(|(target, level)| format!("{target}={level},"));
    let env_filter = parse(&format!("{}{filter}", directives.collect::<String>()))?;
    let builder = fmt::fmt()
        .with_env_filter(env_filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError::Started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        assert!(check_filter("info,tidelog_store=debug").is_ok());
        let error = check_filter("tidelog=loud").unwrap_err().to_string();
        assert!(error.starts_with("log filter \"tidelog=loud\""), "{error}");
    }
}
