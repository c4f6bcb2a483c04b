//! Files that must be there: by the extent, and because there are older and newer ones.

use std::ops::RangeInclusive;

use tidelog_format::journal::Extent;

use super::file::Found;
use super::{Damage, Recovery, RecoveryReport};
use crate::config::{JournalConfig, OnDamage};
use crate::error::OpenError;
use crate::extent::ExtentFile;
use crate::files;

/// More files than this are not stood in for: a number so far off belongs to another journal.
const STAND_INS_MAX: u64 = 4096;

/// The extent on disk. One that cannot be read is damage like any other.
pub(super) fn read_extent(
    config: &JournalConfig,
    report: &mut RecoveryReport,
) -> Result<ExtentFile, OpenError> {
    match ExtentFile::open(config) {
        Err(OpenError::Corrupt { path, position, partition, reason })
            if config.on_damage == OnDamage::Quarantine =>
        {
            report.damage.push(Damage { path, position, partition, reason, is_covered: false });
            Ok(ExtentFile::unknown(config))
        }
        other => other,
    }
}

impl Recovery<'_> {
    /// Refuses if files are missing, or notes the loss if that was chosen.
    pub(super) fn look_for_missing(&mut self, sequences: &[u64]) -> Result<(), OpenError> {
        let extent = self.extent.get();
        for missing in missing(extent, sequences) {
            let path = files::path_of(&self.config.dir, *missing.start());
            let in_between = sequences.first().is_some_and(|first| first < missing.start())
                && sequences.last().is_some_and(|last| last > missing.end());
            let too_many = in_between && missing.end() - missing.start() >= STAND_INS_MAX;
            if self.config.on_damage == OnDamage::Refuse || too_many {
                let said = extent.filter(|extent| extent.last >= *missing.start());
                let by_extent = said.map(|_| self.extent.path().to_owned());
                let (first, last) = span(extent, sequences);
                return Err(OpenError::MissingFile { path, first, last, extent: by_extent });
            }
            let reason = format!("the journal files {} to {} are missing", missing.start(), missing.end());
            self.report.damage.push(Damage { path, position: 0, partition: None, reason, is_covered: false });
        }
        Ok(())
    }

    /// Where a journal without a file in use begins. Sequences are not used twice, so that files that
    /// come back later are not taken for others.
    pub(super) fn first_sequence(&self, empty: &[Found]) -> u64 {
        match empty.first() {
            Some(first) => first.sequence(),
            None => self.extent.get().map_or(1, |extent| extent.last + 1),
        }
    }

    pub(super) fn set_extent(&self, extent: Extent) -> Result<(), OpenError> {
        let path = self.extent.path().to_owned();
        self.extent.put(extent).map_err(|source| OpenError::Io { what: "writing", path, source })
    }

    /// The newest file is about to be removed.
    pub(super) fn let_go_of_newest(&self, sequence: u64) -> Result<(), OpenError> {
        match self.extent.get() {
            Some(extent) if extent.last >= sequence => {
                self.set_extent(Extent { last: sequence - 1, ..extent })
            }
            _ => Ok(()),
        }
    }
}

/// From the oldest file that is there or must be to the newest.
fn span(extent: Option<Extent>, sequences: &[u64]) -> (u64, u64) {
    let extent = extent.filter(|extent| !extent.is_empty());
    let firsts = extent.map(|extent| extent.first).into_iter().chain(sequences.first().copied());
    let lasts = extent.map(|extent| extent.last).into_iter().chain(sequences.last().copied());
    (firsts.min().unwrap_or(1), lasts.max().unwrap_or(0))
}

/// The runs of sequences that are missing.
fn missing(extent: Option<Extent>, sequences: &[u64]) -> Vec<RangeInclusive<u64>> {
    let (mut next, last) = span(extent, sequences);
    let mut missing = Vec::new();
    for &sequence in sequences {
        if next < sequence {
            missing.push(next..=sequence - 1);
        }
        next = sequence.saturating_add(1);
    }
    if next <= last {
        missing.push(next..=last);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_missing_is_found() {
        let extent = |first, last| Some(Extent { first, last });
        assert_eq!(missing(None, &[]), []);
        assert_eq!(missing(None, &[3, 4]), []);
        assert_eq!(missing(None, &[3, 6, 7, 9]), [4..=5, 8..=8]);
        assert_eq!(missing(extent(3, 2), &[]), []);
        assert_eq!(missing(extent(3, 2), &[9]), [], "an empty extent asks for nothing");
        assert_eq!(missing(extent(2, 5), &[]), [2..=5]);
        assert_eq!(missing(extent(2, 5), &[2, 3, 4, 5]), []);
        assert_eq!(missing(extent(2, 5), &[1, 2, 3, 4, 5, 6]), [], "more than must be there");
        assert_eq!(missing(extent(2, 5), &[3, 4]), [2..=2, 5..=5]);
        assert_eq!(missing(extent(2, 5), &[7]), [2..=6]);
    }
}
