//! How the tree grows and how it is searched, as pure functions over nodes.

use thiserror::Error;
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TimestampMs, TopicPartition};

use super::entry::{Entry, LEVEL_MAX};
use super::group::Group;
use super::root::{Root, RootRef, StateRef};
use super::{GROUP_ENTRIES_MAX, ROOT_ENTRIES_MAX};
use crate::segment::SegmentEntry;

/// When a root folds and how much of it. The defaults are the format's; tests use small trees.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub root_entries_max: usize,
    pub group_entries_max: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { root_entries_max: ROOT_ENTRIES_MAX, group_entries_max: GROUP_ENTRIES_MAX }
    }
}

/// Why a root cannot follow its predecessor. All of these are mistakes of the caller.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublicationError {
    #[error("a segment at offset {found} does not follow the tiered end offset {expected}")]
    Order { expected: Offset, found: Offset },
    #[error("a segment's last offset lies before its first")]
    EmptySegment,
    #[error("epoch {found:?} is older than {last:?}, under which the current root was written")]
    OldEpoch { last: (Incarnation, LeaderEpoch), found: (Incarnation, LeaderEpoch) },
    #[error("the state describes offset {state}, the tiered end offset is {end}")]
    State { state: Offset, end: Offset },
    #[error("the log start offset {found} is below {last}, where it was, or above the end")]
    LogStart { last: Offset, found: Offset },
}

/// What a leader wants to publish.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    pub tp: TopicPartition,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// The current root with the reference to it; `None` for a partition's first.
    pub previous: Option<(&'a Root, RootRef)>,
    /// Segments to append, in order.
    pub segments: &'a [SegmentEntry],
    pub state: StateRef,
    pub log_start: Offset,
    pub now: TimestampMs,
    pub shape: Shape,
}

impl Publication<'_> {
    /// The new root and the groups that must be in the bucket before it. `new_id` gives a fresh
    /// random id each time.
    pub fn build(
        &self,
        mut new_id: impl FnMut() -> ObjectId,
    ) -> Result<(Root, Vec<Group>), PublicationError> {
        self.check_epoch()?;
        let previous = self.previous.map(|(root, _)| root);
        let mut entries = previous.map_or_else(Vec::new, |root| root.entries.clone());
        let log_start_before = previous.map_or(Offset::ZERO, |root| root.log_start);
        let mut end = match previous {
            Some(root) => root.tiered_end,
            None => self.segments.first().map_or(self.log_start, |segment| segment.first_offset),
        };
        for segment in self.segments {
            if segment.first_offset != end {
                return Err(PublicationError::Order { expected: end, found: segment.first_offset });
            }
            if segment.last_offset < segment.first_offset {
                return Err(PublicationError::EmptySegment);
            }
            let running = entries.last().map_or(TimestampMs(i64::MIN), |last| last.running_max_timestamp);
            entries.push(Entry::of_segment(segment, running));
            end = segment.next_offset();
        }
        if self.state.offset != end {
            return Err(PublicationError::State { state: self.state.offset, end });
        }
        if self.log_start < log_start_before || self.log_start > end {
            return Err(PublicationError::LogStart { last: log_start_before, found: self.log_start });
        }
        let groups = self.fold(&mut entries, &mut new_id);
        let root = Root {
            tp: self.tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            sequence: previous.map_or(1, |root| root.sequence + 1),
            id: new_id(),
            log_start: self.log_start,
            tiered_end: end,
            bytes: sum(&entries, |entry| entry.bytes),
            segments: sum(&entries, |entry| entry.segments.into()),
            records: sum(&entries, |entry| entry.records),
            published: self.now,
            predecessor: self.previous.map(|(_, reference)| reference),
            state: self.state,
            entries,
            extra: previous.map_or_else(Vec::new, |root| root.extra.clone()),
        };
        Ok((root, groups))
    }

    fn check_epoch(&self) -> Result<(), PublicationError> {
        let found = (self.incarnation, self.epoch);
        match self.previous.map(|(root, _)| (root.incarnation, root.epoch)) {
            Some(last) if last > found => Err(PublicationError::OldEpoch { last, found }),
            _ => Ok(()),
        }
    }

    /// Folds the oldest entries of one level into groups until the root is small enough.
    fn fold(&self, entries: &mut Vec<Entry>, new_id: &mut impl FnMut() -> ObjectId) -> Vec<Group> {
        let mut groups = Vec::new();
        while entries.len() > self.shape.root_entries_max.max(2) {
            let run = run_to_fold(entries, self.shape.group_entries_max.max(2));
            let folded = &entries[run.clone()];
            let level = folded.iter().map(|entry| entry.level).max().unwrap_or(0) + 1;
            if level > LEVEL_MAX {
                break;
            }
            let group = Group {
                tp: self.tp,
                incarnation: self.incarnation,
                epoch: self.epoch,
                id: new_id(),
                level,
                created: self.now,
                entries: folded.to_vec(),
            };
            let entry = group.entry().expect("at least two entries are folded");
            entries.splice(run, [entry]);
            groups.push(group);
        }
        groups
    }
}

/// Sizes come from the bucket and may be absurd; they must not overflow.
fn sum(entries: &[Entry], of: impl Fn(&Entry) -> u64) -> u64 {
    entries.iter().fold(0, |sum, entry| sum.saturating_add(of(entry)))
}

/// The longest run of entries of one level, its oldest `most`. Where levels alternate so that no run
/// is worth folding, simply the oldest entries.
fn run_to_fold(entries: &[Entry], most: usize) -> std::ops::Range<usize> {
    let mut best = 0..0;
    let mut start = 0;
    for at in 1..=entries.len() {
        if at == entries.len() || entries[at].level != entries[start].level {
            // Later runs have lower levels: on a tie the cheaper one is folded.
            if at - start >= best.len() {
                best = start..at;
            }
            start = at;
        }
    }
    if best.len() < 2 { 0..entries.len().min(most) } else { best.start..best.start + best.len().min(most) }
}

/// What a lookup in one node found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The segment that was asked for.
    Segment(SegmentEntry),
    /// The group to fetch and to look into next.
    Group(Entry),
    /// Nothing here; what is asked for lies behind this node, if anywhere.
    Nothing,
}

impl From<Option<&Entry>> for Step {
    fn from(entry: Option<&Entry>) -> Self {
        match entry.map(|entry| (entry, entry.segment())) {
            None => Self::Nothing,
            Some((_, Some(segment))) => Self::Segment(segment),
            Some((entry, None)) => Self::Group(*entry),
        }
    }
}

/// The first entry of a node that covers `offset` or anything behind it.
pub fn find_offset(entries: &[Entry], offset: Offset) -> Step {
    entries.get(entries.partition_point(|entry| entry.last_offset < offset)).into()
}

/// The first entry of a node, from offset `from` on, with a timestamp of `timestamp` or later.
///
/// A group may turn out to have it only below `from`; then its [`Step`] ends in
/// [`Step::Nothing`], and the search goes on in the parent from the group's end.
pub fn find_timestamp(entries: &[Entry], timestamp: TimestampMs, from: Offset) -> Step {
    // The running maximum never falls, so nothing before the first entry that reaches the timestamp
    // can have it. Entries before that one may be gone, hence the look at the entry's own maximum.
    let reached = entries.partition_point(|entry| entry.running_max_timestamp < timestamp);
    let within = entries.partition_point(|entry| entry.last_offset < from);
    entries[reached.max(within)..].iter().find(|entry| entry.max_timestamp >= timestamp).into()
}
