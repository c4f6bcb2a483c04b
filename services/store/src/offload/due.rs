//! Which partitions have something to move to the bucket, and in what order.

use tidelog_model::{TimestampMs, TopicPartition};

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

    /// How large to cut segments so that none is over the limit and all are about the same size.
    pub(crate) fn target_bytes(&self) -> u64 {
        let segments = self.untiered_bytes.div_ceil(self.segment_bytes).max(1);
        self.untiered_bytes.div_ceil(segments).max(1)
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

/// The partitions to offload now, the most pressing first: those that someone waits for, then by the
/// age of their oldest record. `pressure_bytes` is how much the hot tier has to get rid of to go on
/// taking records; where that is more than what is due anyway, the oldest of the rest is taken too,
/// because the journal gives up space from its oldest end.
pub(crate) fn select(
    mut candidates: Vec<Candidate>,
    now: TimestampMs,
    pressure_bytes: u64,
    limits: PassLimits,
) -> Vec<Candidate> {
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
        let needs = candidate.untiered_bytes.min(limits.partition_bytes_max);
        if chosen.len() == limits.partitions || (!chosen.is_empty() && memory + needs > limits.memory_bytes) {
            break;
        }
        memory += needs;
        relieved = relieved.saturating_add(candidate.untiered_bytes);
        chosen.push(candidate);
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

    fn numbers(chosen: &[Candidate]) -> Vec<u32> {
        chosen.iter().map(|candidate| candidate.partition.partition.0).collect()
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
            assert_eq!(candidate(0, untiered, 0).target_bytes(), target);
        }
    }
}
