//! The history checker: clients record what they did and what they were told, and this says whether a
//! correct log could have told them that.
//!
//! Owns the vocabulary of histories, their file format (`docs/formats/history.md`) and the rules. Knows
//! nothing of servers, networks or clocks, and opens no file: histories come in and go out through
//! `BufRead` and `Write`. The same history always gives the same report.
//!
//! ```
//! use tidelog_checker::{History, check};
//!
//! let report = check(&History::default());
//! assert!(report.is_clean(), "{report}");
//! ```

mod contents;
pub mod history;
mod index;
mod report;
mod rules;
mod sweep;

pub use history::{
    Assign, ClientId, CommitOffsets, Event, FaultId, FileError, Header, History, Isolation, ListOffsets, Log,
    Marks, Op, Outcome, Place, Poll, ProcessId, Produce, Producer, Protocol, Source, Tier, TopicName,
    TopicRules, TransactionId, Value, Writer, read,
};
pub use report::{Anomaly, Counts, Kind, Report};

/// Judges a history. Takes time in the order of n log n, and memory in the order of the history's own.
///
/// # Panics
/// When the history has 2^32 - 1 events or more.
#[must_use]
pub fn check(history: &History) -> Report {
    rules::check(history)
}
