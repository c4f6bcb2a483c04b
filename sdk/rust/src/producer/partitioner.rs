//! Which partition a record goes to. Records with a key go where every Kafka client would send them;
//! records without one stay with a partition until a batch's worth is there, and then move on.

use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_model::PartitionId;

/// Kafka's murmur2 (32 bits, seed 0x9747b28c), as in `org.apache.kafka.common.utils.Utils`.
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut h = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key: what Kafka's default partitioner gives.
pub fn partition_of(key: &[u8], partitions: u32) -> PartitionId {
    PartitionId((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// Keeps records without a key together, so that batches fill. Every partition gets as many bytes.
#[derive(Debug)]
pub(super) struct Sticky {
    /// The partition in the upper half, the bytes it got in the lower.
    state: AtomicU64,
    partitions: u32,
    turn_bytes: u32,
}

impl Sticky {
    /// Moves on after `turn_bytes`; `seed` chooses where it begins.
    pub(super) fn new(partitions: u32, turn_bytes: usize, seed: u32) -> Self {
        let turn_bytes = u32::try_from(turn_bytes).unwrap_or(u32::MAX / 2).clamp(1, u32::MAX / 2);
        Self { state: AtomicU64::new(u64::from(seed % partitions) << 32), partitions, turn_bytes }
    }

    /// The partition for a record of `bytes`. `chance` decides where the next turn goes.
    pub(super) fn choose(&self, bytes: usize, chance: impl FnOnce() -> u32) -> PartitionId {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX / 2).min(u32::MAX / 2);
        let seen = self.state.load(Ordering::Relaxed);
        let (partition, used) = ((seen >> 32) as u32, seen as u32);
        let used = used.saturating_add(bytes);
        let next = if used < self.turn_bytes {
            u64::from(partition) << 32 | u64::from(used)
        } else {
            u64::from(self.other_than(partition, chance())) << 32
        };
        // Two senders at once may count one record less: the turn lasts a little longer.
        self.state.store(next, Ordering::Relaxed);
        PartitionId(partition)
    }

    fn other_than(&self, partition: u32, chance: u32) -> u32 {
        if self.partitions == 1 {
            return 0;
        }
        let step = 1 + chance % (self.partitions - 1);
        ((u64::from(partition) + u64::from(step)) % u64::from(self.partitions)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's own vectors: `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2(key) as i32, hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn a_key_goes_where_kafka_sends_it() {
        // 0x7fffffff & -973932308 = 1173551340.
        assert_eq!(partition_of(b"21", 1000), PartitionId(340));
        assert_eq!(partition_of(b"21", 1), PartitionId(0));
        // (479470107 & 0x7fffffff) % 12
        assert_eq!(partition_of(b"abc", 12), PartitionId(479_470_107 % 12));
    }

    #[test]
    fn a_turn_lasts_for_its_bytes_and_goes_to_another() {
        let sticky = Sticky::new(10, 1000, 3);
        let taken: Vec<_> = (0..30).map(|i| sticky.choose(100, || i * 7).0).collect();
        assert_eq!(taken[..10], [3; 10]);
        for turn in taken.chunks(10) {
            assert!(turn.iter().all(|p| *p == turn[0]));
        }
        assert_ne!(taken[9], taken[10]);
        assert_ne!(taken[19], taken[20]);
    }

    #[test]
    fn over_time_every_partition_has_its_turns() {
        let sticky = Sticky::new(5, 10, 0);
        let mut counts = [0; 5];
        let mut chance = 12_345_u32;
        for _ in 0..5000 {
            let next = || {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                chance >> 8
            };
            counts[sticky.choose(10, next).0 as usize] += 1;
        }
        assert!(counts.iter().all(|c| (800..1200).contains(c)), "{counts:?}");
        assert_eq!(Sticky::new(1, 1, 9).choose(100, || 77), PartitionId(0));
    }
}
