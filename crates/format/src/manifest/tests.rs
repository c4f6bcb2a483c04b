use std::collections::HashMap;

use proptest::prelude::*;
use tidelog_model::{
    Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, TimestampMs, TopicId, TopicPartition,
};

use super::*;
use crate::segment::SegmentEntry;

const SMALL: Shape = Shape { root_entries_max: 6, group_entries_max: 3 };

fn tp() -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([1; 16]), partition: PartitionId(0) }
}

fn object_id(number: u64) -> ObjectId {
    ObjectId::from_bytes(u128::from(number).to_be_bytes())
}

fn segment(first: u64, last: u64, max_timestamp: i64) -> SegmentEntry {
    SegmentEntry {
        id: object_id(1_000_000 + first),
        incarnation: Incarnation(1),
        epoch: LeaderEpoch(1),
        first_offset: Offset(first),
        last_offset: Offset(last),
        first_timestamp: TimestampMs(max_timestamp),
        max_timestamp: TimestampMs(max_timestamp),
        bytes: 10,
        tail_bytes: 5,
        records: (last + 1).saturating_sub(first),
        created: TimestampMs(0),
    }
}

/// A tree whose objects lie in memory: everything passes through its bytes.
struct Tree {
    shape: Shape,
    nodes: HashMap<ObjectId, Vec<u8>>,
    root: Option<Root>,
    ids: u64,
    fetched: usize,
}

impl Tree {
    fn new(shape: Shape) -> Self {
        Self { shape, nodes: HashMap::new(), root: None, ids: 0, fetched: 0 }
    }

    fn publish(&mut self, segments: &[SegmentEntry], log_start: u64) -> Result<(), PublicationError> {
        let end = segments.last().map_or_else(|| self.root().tiered_end, SegmentEntry::next_offset);
        let state = StateRef {
            incarnation: Incarnation(1),
            epoch: LeaderEpoch(1),
            offset: end,
            id: object_id(7),
            bytes: 1,
        };
        let previous = self.root.as_ref().map(|root| {
            let bytes = root.encode().len() as u32;
            (root, RootRef::from(&root.pointer(bytes)))
        });
        let publication = Publication {
            tp: tp(),
            incarnation: Incarnation(1),
            epoch: LeaderEpoch(1),
            previous,
            segments,
            state,
            log_start: Offset(log_start),
            now: TimestampMs(9),
            shape: self.shape,
        };
        let ids = &mut self.ids;
        let (root, groups) = publication.build(|| {
            *ids += 1;
            object_id(*ids)
        })?;
        for group in groups {
            let bytes = group.encode();
            assert_eq!(bytes.len(), group.encoded_bytes());
            self.nodes.insert(group.id, bytes.to_vec());
        }
        let bytes = root.encode();
        let pointer = root.pointer(bytes.len() as u32);
        self.root = Some(Root::decode_expected(&bytes, tp(), &pointer).unwrap());
        Ok(())
    }

    fn root(&self) -> &Root {
        self.root.as_ref().unwrap()
    }

    fn fetch(&mut self, entry: &Entry) -> Group {
        self.fetched += 1;
        Group::decode_expected(&self.nodes[&entry.id], tp(), entry).unwrap()
    }

    fn offset(&mut self, offset: Offset) -> Option<SegmentEntry> {
        let mut step = find_offset(&self.root().entries, offset);
        loop {
            match step {
                Step::Segment(segment) => return Some(segment),
                Step::Nothing => return None,
                Step::Group(entry) => step = find_offset(&self.fetch(&entry).entries, offset),
            }
        }
    }

    fn timestamp(
        &mut self,
        entries: &[Entry],
        timestamp: TimestampMs,
        mut from: Offset,
    ) -> Option<SegmentEntry> {
        loop {
            match find_timestamp(entries, timestamp, from) {
                Step::Segment(segment) => return Some(segment),
                Step::Nothing => return None,
                Step::Group(entry) => {
                    let group = self.fetch(&entry);
                    if let Some(found) = self.timestamp(&group.entries, timestamp, from) {
                        return Some(found);
                    }
                    from = entry.next_offset();
                }
            }
        }
    }
}

#[test]
fn a_million_segments_keep_the_root_small_and_every_lookup_within_three_reads() {
    let mut tree = Tree::new(Shape::default());
    for chunk in 0..100_u64 {
        let segments: Vec<SegmentEntry> =
            (0..10_000).map(|i| chunk * 10_000 + i).map(|i| segment(i * 10, i * 10 + 9, i as i64)).collect();
        tree.publish(&segments, 0).unwrap();
        assert!(tree.root().entries.len() <= ROOT_ENTRIES_MAX);
    }
    assert!(tree.root().encode().len() < 110_000);
    assert_eq!((tree.root().segments, tree.root().records), (1_000_000, 10_000_000));
    for offset in [0, 9, 10, 5_000_001, 9_999_990] {
        tree.fetched = 0;
        assert_eq!(tree.offset(Offset(offset)).unwrap().first_offset.0, offset / 10 * 10);
        assert!(tree.fetched <= 2, "the root and two groups");
        tree.fetched = 0;
        let entries = tree.root().entries.clone();
        let found = tree.timestamp(&entries, TimestampMs((offset / 10) as i64), Offset::ZERO).unwrap();
        assert_eq!(found.first_offset.0, offset / 10 * 10);
        assert!(tree.fetched <= 2, "the root and two groups");
    }
}

#[test]
fn publication_that_does_not_follow_is_refused() {
    let mut tree = Tree::new(SMALL);
    tree.publish(&[segment(0, 9, 1)], 0).unwrap();
    let before = tree.root().clone();
    let error = tree.publish(&[segment(11, 19, 1)], 0).unwrap_err();
    assert_eq!(error, PublicationError::Order { expected: Offset(10), found: Offset(11) });
    tree.publish(&[segment(10, 9, 1)], 0).unwrap_err();
    tree.publish(&[], 11).unwrap_err();
    tree.publish(&[], 5).unwrap();
    tree.publish(&[], 4).unwrap_err();
    assert_eq!(tree.root().sequence, 2);
    assert_eq!(tree.root().predecessor.unwrap().id, before.id);
}

#[test]
fn older_epoch_cannot_follow_a_newer_one() {
    let mut tree = Tree::new(SMALL);
    tree.publish(&[segment(0, 9, 1)], 0).unwrap();
    tree.root.as_mut().unwrap().epoch = LeaderEpoch(2);
    assert!(matches!(tree.publish(&[segment(10, 19, 1)], 0), Err(PublicationError::OldEpoch { .. })));
}

#[test]
fn timestamp_below_the_log_start_does_not_hide_later_ones() {
    let mut tree = Tree::new(SMALL);
    let segments: Vec<SegmentEntry> = [90, 10, 20, 30, 95, 40, 50, 60]
        .into_iter()
        .enumerate()
        .map(|(i, t)| {
            let first = i as u64 * 10;
            segment(first, first + 9, t)
        })
        .collect();
    tree.publish(&segments, 0).unwrap();
    assert!(tree.root().entries.iter().any(|entry| !entry.is_segment()));
    let entries = tree.root().entries.clone();
    let found = tree.timestamp(&entries, TimestampMs(25), Offset(10)).unwrap();
    assert_eq!(found.first_offset, Offset(30));
    assert_eq!(tree.timestamp(&entries, TimestampMs(91), Offset(50)), None);
}

proptest! {
    #[test]
    fn lookups_agree_with_a_plain_list(
        steps in proptest::collection::vec(proptest::collection::vec((1_u64..20, 0_i64..100), 0..12), 1..12),
        trims in proptest::collection::vec(0_u64..200, 12),
        probes in proptest::collection::vec((0_u64..2000, 0_i64..101), 20),
    ) {
        let mut tree = Tree::new(SMALL);
        let mut list: Vec<SegmentEntry> = Vec::new();
        let mut next = 0;
        let mut log_start = 0;
        for (step, trim) in steps.into_iter().zip(trims) {
            let mut new = Vec::new();
            for (records, timestamp) in step {
                new.push(segment(next, next + records - 1, timestamp));
                next += records;
            }
            if tree.root.is_none() && new.is_empty() {
                continue;
            }
            log_start = (log_start + trim / 8).min(next);
            tree.publish(&new, log_start).unwrap();
            list.extend(new);
            prop_assert!(tree.root().entries.len() <= SMALL.root_entries_max);
        }
        for (offset, timestamp) in probes {
            if tree.root.is_none() {
                break;
            }
            let wanted = list.iter().find(|s| s.last_offset.0 >= offset).copied();
            prop_assert_eq!(tree.offset(Offset(offset)), wanted);
            let wanted = list
                .iter()
                .find(|s| s.last_offset.0 >= log_start && s.max_timestamp.0 >= timestamp)
                .copied();
            let entries = tree.root().entries.clone();
            prop_assert_eq!(tree.timestamp(&entries, TimestampMs(timestamp), Offset(log_start)), wanted);
        }
    }
}
