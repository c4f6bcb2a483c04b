//! Where one segment ends and the next begins, and who the producers were at that very offset.
//!
//! The live partition is ahead of what is being uploaded, so its producers are not those of the
//! segment's end: a producer restored from them would have its repeated batches taken for new ones, or
//! refused. So the cutter starts from the state at the tiered end and follows the same batches that go
//! into the segments.

use std::ops::Range;

use thiserror::Error;
use tidelog_format::batch::BatchHeader;
use tidelog_format::state::ProducerEntry;
use tidelog_model::{Offset, TimestampMs};

use crate::partition::producers::{Producers, Stamp};

/// What follows a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// More batches of the same segment.
    None,
    /// The segment ends with this batch.
    Here(SegmentEnd),
}

/// A segment that is complete, and who the producers were at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    pub(crate) start: Offset,
    pub(crate) next: Offset,
    pub(crate) producers: Vec<ProducerEntry>,
}

/// The journal gave other batches than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum CutError {
    #[error("the journal continues at offset {found}, where offset {expected} comes next")]
    Gap { expected: Offset, found: Offset },
    #[error("a batch reaches to offset {next}, past the limit {limit}")]
    Overrun { next: Offset, limit: Offset },
    #[error("the journal has nothing more at offset {at}, before the end {end}")]
    Short { at: Offset, end: Offset },
}

#[derive(Debug)]
pub(crate) struct Cutter {
    target_bytes: u64,
    /// Whatever batch reaches it is the last.
    end: Offset,
    /// No batch may reach past it.
    limit: Offset,
    segment_start: Offset,
    segment_bytes: u64,
    next: Offset,
    producers: Producers,
}

impl Cutter {
    /// Cuts what lies from `span.start` to the batch that reaches `span.end` into segments of about
    /// `target_bytes`. Nothing from `limit` on may be moved yet. `producers` are those at the start.
    pub(crate) fn new(
        span: Range<Offset>,
        limit: Offset,
        target_bytes: u64,
        producers: &[ProducerEntry],
    ) -> Self {
        let Range { start, end } = span;
        Self {
            target_bytes,
            end,
            limit,
            segment_start: start,
            segment_bytes: 0,
            next: start,
            producers: Producers::restore(producers),
        }
    }

    /// Takes the next batch into the segment.
    pub(crate) fn push(&mut self, header: &BatchHeader, now: TimestampMs) -> Result<Cut, CutError> {
        let next = header.next_offset();
        if header.base_offset != self.next {
            return Err(CutError::Gap { expected: self.next, found: header.base_offset });
        }
        if next > self.limit {
            return Err(CutError::Overrun { next, limit: self.limit });
        }
        if let Some(stamp) = Stamp::of(header) {
            self.producers.replay(&stamp, header.base_offset, now);
        }
        self.next = next;
        self.segment_bytes += header.batch_bytes as u64;
        if next < self.end && self.segment_bytes < self.target_bytes {
            return Ok(Cut::None);
        }
        let end = SegmentEnd { start: self.segment_start, next, producers: self.producers.snapshot(now) };
        self.segment_start = next;
        self.segment_bytes = 0;
        Ok(Cut::Here(end))
    }

    /// Whether everything that was to be moved went into segments.
    pub(crate) fn finish(&self) -> Result<(), CutError> {
        if self.next >= self.end {
            return Ok(());
        }
        Err(CutError::Short { at: self.next, end: self.end })
    }
}

#[cfg(test)]
mod tests {
    use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
    use tidelog_model::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000);

    /// Two records of producer 5 at this offset; sequences equal offsets.
    fn header(base_offset: u64) -> BatchHeader {
        let producer = Some((ProducerId(5), ProducerEpoch(0), Sequence(base_offset as i32)));
        let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
        for _ in 0..2 {
            builder.push(NOW, None, Some(b"value"), &[]).unwrap();
        }
        let mut bytes = builder.finish();
        batch::assign(&mut bytes, Offset(base_offset), LeaderEpoch(1));
        batch::header(&bytes).unwrap()
    }

    #[test]
    fn each_segment_ends_with_the_producers_as_they_were_there() {
        let bytes = header(0).batch_bytes as u64;
        let mut cutter = Cutter::new(Offset(0)..Offset(9), Offset(10), 2 * bytes, &[]);
        let mut ends = Vec::new();
        for base in [0, 2, 4, 6, 8] {
            if let Cut::Here(end) = cutter.push(&header(base), NOW).unwrap() {
                ends.push(end);
            }
        }
        cutter.finish().unwrap();
        let bounds: Vec<_> = ends.iter().map(|end| (end.start.0, end.next.0)).collect();
        assert_eq!(bounds, [(0, 4), (4, 8), (8, 10)]);
        for end in ends {
            let newest = end.producers[0].batches.last().unwrap();
            assert_eq!(newest.base_offset.0 + 2, end.next.0);
        }
    }

    #[test]
    fn a_gap_an_overrun_and_a_missing_end_are_noticed() {
        let mut cutter = Cutter::new(Offset(0)..Offset(5), Offset(5), u64::MAX, &[]);
        assert_eq!(cutter.push(&header(0), NOW), Ok(Cut::None));
        let gap = CutError::Gap { expected: Offset(2), found: Offset(4) };
        assert_eq!(cutter.push(&header(4), NOW), Err(gap));
        assert_eq!(cutter.push(&header(2), NOW), Ok(Cut::None));
        let overrun = CutError::Overrun { next: Offset(6), limit: Offset(5) };
        assert_eq!(cutter.push(&header(4), NOW), Err(overrun));
        assert_eq!(cutter.finish(), Err(CutError::Short { at: Offset(4), end: Offset(5) }));
    }
}
