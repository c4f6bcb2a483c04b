//! What the checker found.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::History;

/// How many anomalies of one kind are explained; the others are counted.
const EXPLAINED_MAX: u64 = 50;

/// Everything that a correct log never shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The history itself breaks the rules of recording: it proves nothing.
    Malformed,
    /// Two values for one offset.
    Divergence,
    /// A record that was acknowledged, or read, is not in a final drain.
    LostWrite,
    /// Nobody drained a log that was written to, so losses would not be seen.
    NotDrained,
    /// An idempotent producer's record is there twice.
    Duplicate,
    /// A record of a write that failed was read.
    FailedRead,
    /// A read-committed reader saw a record or an offset of a transaction that was not committed.
    DirtyRead,
    /// A record was read that nobody wrote, that was written elsewhere, or that was written later.
    PhantomRead,
    /// A producer's records stand in another order than it wrote them.
    ProducerOrder,
    /// One read's records are out of order, or outside of what it says that it read.
    PollOrder,
    /// A consumer went on elsewhere than where it was, without a seek or a rebalance.
    PollJump,
    /// A consumer passed over a record that is there.
    SkippedRecord,
    /// Two consumers of a group had one log in one generation.
    SharedAssignment,
    /// One write of a transaction is seen, and another one is not.
    TornTransaction,
    /// Transactions that read each other's writes.
    TransactionCycle,
    /// Two committed transactions of a group consumed the same record.
    InputRepeated,
    /// A group committed past a record that none of its committed transactions consumed.
    InputMissed,
    /// A group's committed offset went back.
    CommitWentBack,
    /// A group's committed offset is past the end of the log.
    CommitPastEnd,
    /// A committed offset that nobody committed.
    PhantomCommit,
    /// A linearizable answer does not know a record that was acknowledged before it was asked for.
    StaleAnswer,
    /// High watermark, last stable offset or log start went back.
    MarkWentBack,
    /// The log start moved and nothing was to move it.
    LogStartMoved,
    /// A write with an older producer epoch was accepted after one with a newer.
    FencedWrite,
    /// An offset commit of an older generation was accepted after a newer one had begun.
    FencedCommit,
    /// A log took no writes within the stated time after the last fault was healed.
    NotWritable,
    /// A log could not be read after that time.
    NotReadable,
}

impl Kind {
    /// The rule that it breaks, as `docs/formats/history.md` numbers them; 0 for the history itself.
    #[must_use]
    pub fn rule(self) -> u8 {
        match self {
            Self::Malformed => 0,
            Self::Divergence => 1,
            Self::LostWrite | Self::NotDrained => 2,
            Self::Duplicate | Self::FencedWrite => 3,
            Self::FailedRead | Self::DirtyRead | Self::PhantomRead => 4,
            Self::ProducerOrder
            | Self::PollOrder
            | Self::PollJump
            | Self::SkippedRecord
            | Self::SharedAssignment => 5,
            Self::TornTransaction | Self::TransactionCycle => 6,
            Self::InputRepeated
            | Self::InputMissed
            | Self::CommitWentBack
            | Self::CommitPastEnd
            | Self::PhantomCommit
            | Self::FencedCommit => 7,
            Self::StaleAnswer => 8,
            Self::MarkWentBack | Self::LogStartMoved => 9,
            Self::NotWritable | Self::NotReadable => 10,
        }
    }
}

/// One thing that is wrong, and the operations that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    pub kind: Kind,
    /// What is wrong, then the operations, one a line.
    pub explanation: String,
    /// The operations' places in the history.
    pub events: Vec<usize>,
}

/// What was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub logs: u64,
    pub writes_ok: u64,
    pub writes_failed: u64,
    pub writes_unknown: u64,
    /// Writes of unknown outcome that turned out to be there.
    pub writes_unknown_found: u64,
    pub records_read: u64,
    pub records_drained: u64,
    /// Different records known to be in the logs.
    pub records: u64,
    pub transactions: u64,
    pub faults: u64,
    /// Faults without an end. While there is one, rule 10 asks for nothing.
    pub faults_open: u64,
    /// How often each kind of anomaly was found.
    pub anomalies: BTreeMap<Kind, u64>,
}

/// The judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Explained; at most some of each kind.
    pub anomalies: Vec<Anomaly>,
    pub counts: Counts,
}

impl Report {
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts.anomalies.is_empty()
    }

    /// The kinds that were found.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.counts.anomalies.keys().copied().collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        writeln!(
            f,
            "{} events on {} logs: {} writes ok, {} failed, {} unknown ({} of them found); {} records, read {} times, \
             drained {} times; {} transactions; {} faults, {} of them open",
            c.events,
            c.logs,
            c.writes_ok,
            c.writes_failed,
            c.writes_unknown,
            c.writes_unknown_found,
            c.records,
            c.records_read,
            c.records_drained,
            c.transactions,
            c.faults,
            c.faults_open
        )?;
        if self.is_clean() {
            return writeln!(f, "no anomaly");
        }
        for (kind, count) in &c.anomalies {
            writeln!(f, "{count} × {kind:?} (rule {})", kind.rule())?;
        }
        self.anomalies
            .iter()
            .try_for_each(|anomaly| writeln!(f, "\n{:?}: {}", anomaly.kind, anomaly.explanation))
    }
}

/// Gathers anomalies while the rules run.
#[derive(Debug)]
pub(crate) struct Findings<'h> {
    history: &'h History,
    pub(crate) report: Report,
}

impl<'h> Findings<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        Self { history, report: Report::default() }
    }

    /// Counts an anomaly; explains it while there are few of its kind.
    pub(crate) fn add(&mut self, kind: Kind, events: &[u32], what: impl FnOnce() -> String) {
        let count = self.report.counts.anomalies.entry(kind).or_insert(0);
        *count += 1;
        if *count > EXPLAINED_MAX {
            return;
        }
        let events: Vec<usize> = events.iter().map(|event| *event as usize).collect();
        let mut explanation = what();
        for event in &events {
            explanation.push_str(&format_event(self.history, *event));
        }
        self.report.anomalies.push(Anomaly { kind, explanation, events });
    }
}

fn format_event(history: &History, event: usize) -> String {
    format!("\n  #{event} {}", history.events[event])
}
