use proptest::prelude::*;

use super::*;

const NOW: TimestampMs = TimestampMs(1_000_000);

fn stamp(id: i64, epoch: i16, sequence: i32, record_count: u32) -> Stamp {
    Stamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        sequence: Sequence(sequence),
        record_count,
        timestamp: NOW,
    }
}

fn duplicate(base_offset: u64) -> Verdict {
    Verdict::Duplicate { base_offset: Offset(base_offset), timestamp: NOW }
}

/// Producer 1 with `batches` durable batches of two records each, from offset 100 on.
fn with_batches(batches: u32) -> Producers {
    let mut producers = Producers::default();
    for n in 0..batches {
        producers.replay(&stamp(1, 0, n as i32 * 2, 2), Offset(100 + u64::from(n) * 2), NOW);
    }
    producers
}

#[test]
fn the_next_batch_follows_the_last() {
    let producers = with_batches(3);
    assert_eq!(producers.check(&stamp(1, 0, 6, 4)), Ok(Verdict::Next));
    let gap = Refusal::Gap { id: ProducerId(1), expected: 6, got: 7 };
    assert_eq!(producers.check(&stamp(1, 0, 7, 1)), Err(gap));
    assert_eq!(gap.code(), ErrorCode::OutOfOrderSequence);
}

#[test]
fn five_batches_are_remembered_and_the_sixth_is_called_a_duplicate_without_an_offset() {
    let producers = with_batches(7);
    for n in 2..7 {
        assert_eq!(producers.check(&stamp(1, 0, n * 2, 2)), Ok(duplicate(100 + n as u64 * 2)));
    }
    let forgotten = producers.check(&stamp(1, 0, 2, 2)).unwrap_err();
    assert_eq!(forgotten.code(), ErrorCode::DuplicateSequence);
    assert!(!forgotten.code().has_no_side_effects());
}

#[test]
fn a_batch_that_overlaps_what_was_appended_is_out_of_order() {
    let producers = with_batches(3);
    for overlapping in [stamp(1, 0, 5, 3), stamp(1, 0, 4, 3), stamp(1, 0, 3, 10)] {
        assert_eq!(producers.check(&overlapping).unwrap_err().code(), ErrorCode::OutOfOrderSequence);
    }
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut producers = with_batches(2);
    assert!(matches!(producers.check(&stamp(1, 1, 4, 1)), Err(Refusal::Gap { expected: 0, .. })));
    assert_eq!(producers.check(&stamp(1, 1, 0, 1)), Ok(Verdict::Next));
    producers.replay(&stamp(1, 1, 0, 1), Offset(200), NOW);
    let fenced = producers.check(&stamp(1, 0, 4, 1)).unwrap_err();
    assert_eq!(fenced.code(), ErrorCode::InvalidProducerEpoch);
    assert_eq!(producers.check(&stamp(1, 1, 0, 1)), Ok(duplicate(200)));
}

#[test]
fn an_unknown_producer_begins_at_zero() {
    let producers = Producers::default();
    assert_eq!(producers.check(&stamp(9, 0, 0, 1)), Ok(Verdict::Next));
    assert_eq!(producers.check(&stamp(9, 0, 1, 1)).unwrap_err().code(), ErrorCode::UnknownProducerId);
    assert_eq!(producers.check(&stamp(9, -1, 0, 1)).unwrap_err().code(), ErrorCode::InvalidRecord);
    assert_eq!(producers.check(&stamp(9, 0, -1, 1)).unwrap_err().code(), ErrorCode::InvalidRecord);
}

#[test]
fn sequences_wrap_to_zero() {
    let mut producers = Producers::default();
    let entry = ProducerEntry {
        id: ProducerId(1),
        epoch: ProducerEpoch(0),
        last_timestamp: NOW,
        coordinator_epoch: -1,
        transaction_start: None,
        batches: vec![ProducerBatch {
            first_sequence: Sequence(i32::MAX - 2),
            record_count: 2,
            base_offset: Offset(10),
            timestamp: NOW,
        }],
    };
    producers.entries.insert(entry.id, Producer::restore(&entry));
    assert_eq!(producers.check(&stamp(1, 0, i32::MAX, 3)), Ok(Verdict::Next));
    producers.replay(&stamp(1, 0, i32::MAX, 3), Offset(12), NOW);
    assert_eq!(producers.check(&stamp(1, 0, 2, 1)), Ok(Verdict::Next));
    assert_eq!(producers.check(&stamp(1, 0, i32::MAX, 3)), Ok(duplicate(12)));
    let before = producers.check(&stamp(1, 0, i32::MAX - 10, 1)).unwrap_err();
    assert_eq!(before.code(), ErrorCode::DuplicateSequence);
    assert_eq!(producers.check(&stamp(1, 0, 3, 1)).unwrap_err().code(), ErrorCode::OutOfOrderSequence);
}

#[test]
fn a_batch_in_flight_is_a_duplicate_but_not_in_a_snapshot() {
    let mut producers = with_batches(2);
    producers.begin(&stamp(1, 1, 0, 2), Offset(104), NOW);
    producers.begin(&stamp(2, 0, 0, 2), Offset(106), NOW);
    assert_eq!(producers.check(&stamp(1, 1, 0, 2)), Ok(duplicate(104)));
    assert_eq!(producers.snapshot(NOW), with_batches(2).snapshot(NOW));
    producers.complete(ProducerId(1), Offset(104));
    producers.complete(ProducerId(2), Offset(106));
    let snapshot = producers.snapshot(NOW);
    assert_eq!(snapshot.len(), 2);
    assert_eq!((snapshot[0].epoch, snapshot[0].batches.len()), (ProducerEpoch(1), 1));
}

#[test]
fn older_batches_join_those_that_are_known() {
    // Batches 0 to 6 were appended; the older part knows up to 4, the newer one from 3 on.
    let older = with_batches(5).snapshot(NOW);
    let mut producers = Producers::default();
    for n in 3..7 {
        let base_offset = Offset(100 + n as u64 * 2);
        producers.entries.entry(ProducerId(1)).or_insert_with(|| Producer::new(ProducerEpoch(0)));
        producers.replay(&stamp(1, 0, n * 2, 2), base_offset, NOW);
    }
    producers.add_older(&older);
    assert_eq!(producers.snapshot(NOW), with_batches(7).snapshot(NOW));
    let mut nothing = Producers::default();
    nothing.add_older(&older);
    assert_eq!(nothing.snapshot(NOW), older);
}

#[test]
fn idle_producers_are_forgotten_but_none_with_a_batch_in_flight() {
    let mut producers = with_batches(1);
    producers.begin(&stamp(2, 0, 0, 1), Offset(200), NOW);
    let later = TimestampMs(NOW.0 + PRODUCER_IDLE_MS_MAX as i64 + 1);
    assert!(producers.snapshot(later).is_empty());
    producers.expire(later);
    assert_eq!(producers.len(), 1);
    producers.complete(ProducerId(2), Offset(200));
}

#[test]
fn the_number_of_producers_is_bounded_and_the_newest_stay() {
    let mut producers = Producers::default();
    for id in 0..(PRODUCERS_MAX as i64 + 100) {
        let now = TimestampMs(NOW.0 + id);
        producers.replay(&stamp(id, 0, 0, 1), Offset(id as u64), now);
        assert!(producers.len() <= PRODUCERS_MAX);
    }
    assert!(producers.check(&stamp(0, 0, 1, 1)).is_err());
    assert_eq!(producers.check(&stamp(PRODUCERS_MAX as i64, 0, 1, 1)), Ok(Verdict::Next));
}

/// What happens next to a producer that keeps five batches in flight and a server that may crash.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The producer sends its next batch, if it may.
    Send { record_count: u32 },
    /// The oldest batch in flight becomes durable; whether its acknowledgement arrives.
    Sync { acknowledged: bool },
    /// The producer lost its connection and sends again what was not acknowledged.
    Reconnect,
    /// The server takes a checkpoint.
    Checkpoint,
    /// The server loses what was not durable, and comes back from its checkpoint and its log.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_u32..5).prop_map(|record_count| Event::Send { record_count }),
        4 => any::<bool>().prop_map(|acknowledged| Event::Sync { acknowledged }),
        1 => Just(Event::Reconnect),
        1 => Just(Event::Checkpoint),
        1 => Just(Event::Crash),
    ]
}

/// One producer against one partition.
#[derive(Debug)]
struct World {
    server: Producers,
    /// Batches with their base offsets; the first `durable` survive a crash.
    log: Vec<(Stamp, Offset)>,
    durable: usize,
    checkpoint: (usize, Vec<ProducerEntry>),
    /// Sent and not acknowledged, oldest first.
    unacknowledged: VecDeque<Stamp>,
    next: Sequence,
}

impl World {
    fn offer(&mut self, stamp: Stamp) {
        let end = self.log.last().map_or(0, |(last, base)| base.0 + u64::from(last.record_count));
        match self.server.check(&stamp).expect("a well-behaved producer is never refused") {
            Verdict::Next => {
                self.server.begin(&stamp, Offset(end), NOW);
                self.log.push((stamp, Offset(end)));
            }
            Verdict::Duplicate { base_offset, .. } => {
                assert!(self.log.contains(&(stamp, base_offset)), "a duplicate has the offset it got first");
                let durable = self.log[..self.durable].contains(&(stamp, base_offset));
                if durable {
                    self.acknowledge(stamp);
                }
            }
        }
    }

    /// Acknowledgements arrive in order: one that arrives stands for those before it.
    fn acknowledge(&mut self, stamp: Stamp) {
        if let Some(at) = self.unacknowledged.iter().position(|waiting| *waiting == stamp) {
            self.unacknowledged.drain(..=at);
        }
    }

    fn resend(&mut self) {
        for stamp in self.unacknowledged.clone() {
            self.offer(stamp);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Send { record_count } => {
                if self.unacknowledged.len() < PRODUCER_BATCHES_REMEMBERED {
                    let stamp = stamp(1, 0, self.next.0, record_count);
                    self.next = self.next.advance(record_count);
                    self.unacknowledged.push_back(stamp);
                    self.offer(stamp);
                }
            }
            Event::Sync { acknowledged } => {
                if let Some((stamp, base)) = self.log.get(self.durable).copied() {
                    self.server.complete(stamp.id, base);
                    self.durable += 1;
                    if acknowledged {
                        self.acknowledge(stamp);
                    }
                }
            }
            Event::Reconnect => self.resend(),
            Event::Checkpoint => self.checkpoint = (self.durable, self.server.snapshot(NOW)),
            Event::Crash => {
                self.log.truncate(self.durable);
                self.server = Producers::restore(&self.checkpoint.1);
                for (stamp, base) in &self.log[self.checkpoint.0..] {
                    self.server.replay(stamp, *base, NOW);
                }
                self.resend();
            }
        }
    }
}

proptest! {
    #[test]
    fn a_retrying_producer_is_written_once_and_in_order(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World {
            server: Producers::default(),
            log: Vec::new(),
            durable: 0,
            checkpoint: (0, Vec::new()),
            unacknowledged: VecDeque::new(),
            next: Sequence(0),
        };
        for event in events {
            world.step(event);
        }
        world.step(Event::Crash);
        let mut expected = Sequence(0);
        for (stamp, _) in &world.log {
            prop_assert_eq!(stamp.sequence, expected);
            expected = expected.advance(stamp.record_count);
        }
        prop_assert_eq!(expected, world.next);
    }
}
