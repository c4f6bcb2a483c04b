//! Which partitions have something to move to the bucket, and in what order.

use tidelog_model::{Offset, TimestampMs, TopicPartition};

/// What is known of one partition's records that only the hot tier has.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) partition: TopicPartition,
    pub(crate) untiered_bytes: u64,
    /// When the oldest of them was appended.
    pub(crate) oldest_append: TimestampMs,
    pub(crate) segment_bytes: u64,
    pub(crate) age_ms_max: u64,
    /// Someone waits for it.
    pub(crate) commanded: bool,
}

impl Candidate {
    fn is_due(&self, now: TimestampMs) -> bool {
        self.commanded
            || self.untiered_bytes >= self.segment_bytes
            || now.since_ms(self.oldest_append) >= self.age_ms_max
    }

    /// How much to move at once, in segments of which size: none over the limit, all about the same.
    fn plan(self, bytes_max: u64) -> Plan {
        let bytes = self.untiered_bytes.min(bytes_max);
        let segments = bytes.div_ceil(self.segment_bytes).max(1);
        Plan { segment_bytes: bytes.div_ceil(segments).max(1), bytes, candidate: self }
    }
}

/// What one pass does for a partition.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) candidate: Candidate,
    /// How much to move.
    pub(crate) bytes: u64,
    /// How large to cut segments.
    pub(crate) segment_bytes: u64,
}

impl Plan {
    /// Where to stop between `start` and `end`, taking batches to be of one size.
    pub(crate) fn stop(&self, start: Offset, end: Offset) -> Offset {
        if self.bytes >= self.candidate.untiered_bytes {
            return end;
        }
        let offsets = u128::from(end.since(start)) * u128::from(self.bytes);
        let part = offsets.div_ceil(u128::from(self.candidate.untiered_bytes));
        (start + u64::try_from(part).expect("a part of the offsets there are")).min(end)
    }
}

/// What one pass may take on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PassLimits {
    pub(crate) partitions: usize,
    /// Memory for batches on their way.
    pub(crate) memory_bytes: u64,
    /// The most that one partition's upload holds in memory, however much it moves.
    pub(crate) partition_bytes_max: u64,
}

/// How much of one partition a pass moves, unless a segment is larger. Others get their turn then.
const TURN_BYTES: u64 = 256 * 1024 * 1024;

/// The same when the hot tier needs room. It gives room up from its oldest end, so that short turns,
/// always for the partition with the oldest record, get it sooner.
const PRESSED_TURN_BYTES: u64 = 64 * 1024 * 1024;

/// The partitions to offload now, the most pressing first: those that someone waits for, then by the
/// age of their oldest record. `pressure_bytes` is how much the hot tier has to get rid of to go on
/// taking records; where that is more than what is due anyway, the oldest of the rest is taken too.
pub(crate) fn select(
    mut candidates: Vec<Candidate>,
    now: TimestampMs,
    pressure_bytes: u64,
    limits: PassLimits,
) -> Vec<Plan> {
    candidates.retain(|candidate| candidate.untiered_bytes > 0);
    candidates.sort_by_key(|candidate| (!candidate.commanded, candidate.oldest_append, candidate.partition));
    let mut relieved: u64 = 0;
    let mut memory: u64 = 0;
    let mut chosen = Vec::new();
    for candidate in candidates {
        let pressed = relieved < pressure_bytes;
        if !candidate.is_due(now) && !pressed {
            continue;
        }
        let turn =
            if pressure_bytes > 0 { PRESSED_TURN_BYTES } else { TURN_BYTES.max(candidate.segment_bytes) };
        let plan = candidate.plan(turn);
        let needs = plan.bytes.min(limits.partition_bytes_max);
        if chosen.len() == limits.partitions || (!chosen.is_empty() && memory + needs > limits.memory_bytes) {
            break;
        }
        memory += needs;
        relieved = relieved.saturating_add(plan.bytes);
        chosen.push(plan);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use tidelog_model::{PartitionId, TopicId};

    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);
    const LIMITS: PassLimits =
        PassLimits { partitions: 100, memory_bytes: u64::MAX, partition_bytes_max: 1 << 24 };

    fn candidate(number: u32, untiered_bytes: u64, age_ms: i64) -> Candidate {
        Candidate {
            partition: TopicPartition::new(TopicId::from_bytes([0; 16]), PartitionId(number)),
            untiered_bytes,
            oldest_append: TimestampMs(NOW.0 - age_ms),
            segment_bytes: 1000,
            age_ms_max: 600,
            commanded: false,
        }
    }

    fn numbers(chosen: &[Plan]) -> Vec<u32> {
        chosen.iter().map(|plan| plan.candidate.partition.partition.0).collect()
    }

    #[test]
    fn a_full_segment_an_old_record_or_a_command_make_a_partition_due() {
        let mut commanded = candidate(3, 1, 0);
        commanded.commanded = true;
        let nothing_there = Candidate { untiered_bytes: 0, ..commanded.clone() };
        let candidates = vec![
            candidate(0, 999, 599),
            candidate(1, 1000, 0),
            candidate(2, 1, 600),
            commanded,
            nothing_there,
        ];
        assert_eq!(numbers(&select(candidates, NOW, 0, LIMITS)), [3, 2, 1]);
    }

    #[test]
    fn under_pressure_the_oldest_go_until_enough_is_relieved() {
        let candidates = vec![candidate(0, 300, 10), candidate(1, 300, 30), candidate(2, 300, 20)];
        assert_eq!(numbers(&select(candidates.clone(), NOW, 301, LIMITS)), [1, 2]);
        assert!(select(candidates, NOW, 0, LIMITS).is_empty());
    }

    #[test]
    fn a_pass_is_bounded_by_memory_and_takes_one_partition_at_least() {
        let candidates = vec![candidate(0, 5000, 10), candidate(1, 2000, 20), candidate(2, 2000, 5)];
        let limits = PassLimits { memory_bytes: 3000, partition_bytes_max: 1500, ..LIMITS };
        assert_eq!(numbers(&select(candidates.clone(), NOW, 0, limits)), [1, 0]);
        let tiny = PassLimits { memory_bytes: 1, ..LIMITS };
        assert_eq!(numbers(&select(candidates.clone(), NOW, 0, tiny)), [1]);
        let single = PassLimits { partitions: 1, ..LIMITS };
        assert_eq!(numbers(&select(candidates, NOW, 0, single)), [1]);
    }

    #[test]
    fn segments_are_cut_even_and_below_the_limit() {
        for (untiered, target) in [(1, 1), (999, 999), (1000, 1000), (1001, 501), (2500, 834)] {
            assert_eq!(candidate(0, untiered, 0).plan(u64::MAX).segment_bytes, target);
        }
    }

    #[test]
    fn a_large_backlog_is_moved_in_turns() {
        let mut large = candidate(0, 4 * TURN_BYTES, 0);
        large.segment_bytes = TURN_BYTES / 4;
        let plan = &select(vec![large.clone()], NOW, 0, LIMITS)[0];
        assert_eq!((plan.bytes, plan.segment_bytes), (TURN_BYTES, TURN_BYTES / 4));
        assert_eq!(plan.stop(Offset(1_000), Offset(2_001)), Offset(1_251));
        let pressed = &select(vec![large.clone()], NOW, 1, LIMITS)[0];
        assert_eq!(pressed.bytes, PRESSED_TURN_BYTES);
        large.segment_bytes = 2 * TURN_BYTES;
        let one_segment = &select(vec![large], NOW, 0, LIMITS)[0];
        assert_eq!((one_segment.bytes, one_segment.segment_bytes), (2 * TURN_BYTES, 2 * TURN_BYTES));
        let all = candidate(0, 500, 600).plan(u64::MAX);
        assert_eq!(all.stop(Offset(3), Offset(9)), Offset(9));
    }
}
