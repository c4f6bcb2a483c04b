//! What is wrong with a configuration.

use std::fmt;

use thiserror::Error;

/// One thing that is wrong, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Such as `file tidelog.toml, key journal.file_bytes` or `variable TIDELOG_BUCKET`.
    pub place: String,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    /// One line for one problem, otherwise a line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = &*self.0 {
            return write!(f, "bad configuration: {problem}");
        }
        write!(f, "bad configuration, {} problems:", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
