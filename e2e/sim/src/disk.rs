//! A node's data directory: one journal for all partitions. What was written and not synced survives a
//! crash as far as chance wants, always as a prefix: recovery cuts a journal at its first torn frame.

use std::collections::VecDeque;

use tidelog_model::{DirectoryId, Offset};
use tidelog_replica::Generation;

use crate::log::{Log, Record};
use crate::rng::Rng;

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) directory: DirectoryId,
    pub(crate) boot: u64,
    durable: Vec<Log>,
    written: Vec<Log>,
    pending: VecDeque<Pending>,
    /// How many of the pending records the sync that is under way covers.
    syncing: usize,
    pub(crate) full: bool,
    /// How much longer than usual a sync takes.
    pub(crate) slowness: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    partition: usize,
    generation: Generation,
    record: Record,
}

/// What a sync made durable, partition by partition, in the order it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    UpTo { partition: usize, generation: Generation, up_to: Offset },
    Cut { partition: usize, generation: Generation },
}

impl Disk {
    pub(crate) fn new(directory: DirectoryId, partitions: usize) -> Self {
        Self {
            directory,
            boot: 0,
            durable: vec![Log::default(); partitions],
            written: vec![Log::default(); partitions],
            pending: VecDeque::new(),
            syncing: 0,
            full: false,
            slowness: 1,
        }
    }

    /// What a reader of the journal finds, synced or not.
    pub(crate) fn log(&self, partition: usize) -> &Log {
        &self.written[partition]
    }

    /// What no crash takes away.
    pub(crate) fn durable(&self, partition: usize) -> &Log {
        &self.durable[partition]
    }

    pub(crate) fn write(&mut self, partition: usize, generation: Generation, record: Record) {
        self.written[partition].apply(&record);
        self.pending.push_back(Pending { partition, generation, record });
    }

    /// Begins to sync all that is written; false when there is nothing to do or a sync is under way.
    pub(crate) fn begin_sync(&mut self) -> bool {
        if self.syncing > 0 || self.pending.is_empty() {
            return false;
        }
        self.syncing = self.pending.len();
        true
    }

    /// What the sync covered is durable now.
    pub(crate) fn finish_sync(&mut self) -> Vec<Synced> {
        let covered = std::mem::take(&mut self.syncing);
        let mut synced: Vec<Synced> = Vec::new();
        for pending in self.pending.iter().take(covered) {
            let Pending { partition, generation, record } = pending;
            let (partition, generation) = (*partition, *generation);
            match record {
                Record::Append(batch) => {
                    let done = Synced::UpTo { partition, generation, up_to: batch.next() };
                    let same = |before: &Synced| {
                        matches!(before, Synced::UpTo { partition: p, generation: g, .. }
                            if *p == partition && *g == generation)
                    };
                    match synced.iter_mut().rfind(|before| same(before)) {
                        Some(before) => *before = done,
                        None => synced.push(done),
                    }
                }
                Record::Truncate(_) | Record::Reset(..) => synced.push(Synced::Cut { partition, generation }),
                Record::EpochStart(_) | Record::Trim(_) => {}
            }
        }
        self.survive(covered);
        synced
    }

    fn survive(&mut self, records: usize) {
        for Pending { partition, record, .. } in self.pending.drain(..records) {
            self.durable[partition].apply(&record);
        }
    }

    /// The process or the power is gone; recovery keeps what it finds and syncs it before it counts on it.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        let survives = rng.between(0, self.pending.len() as u64) as usize;
        self.survive(survives);
        self.pending.clear();
        self.syncing = 0;
        self.written = self.durable.clone();
    }
}

#[cfg(test)]
mod tests {
    use tidelog_model::{DirectoryId, LeaderEpoch, Offset};
    use tidelog_replica::Generation;

    use super::Disk;
    use crate::log::{Batch, Record};
    use crate::rng::Rng;

    fn batch(base: u64) -> Record {
        let (epoch, base) = (LeaderEpoch(1), Offset(base));
        Record::Append(Batch { epoch, base, count: 1, value: 1, origin: None })
    }

    #[test]
    fn a_crash_takes_what_was_not_synced_and_only_from_the_end() {
        for seed in 0..50 {
            let mut disk = Disk::new(DirectoryId::from_bytes([0; 16]), 1);
            disk.write(0, Generation(0), batch(0));
            assert!(disk.begin_sync());
            disk.write(0, Generation(0), batch(1));
            disk.finish_sync();
            disk.write(0, Generation(0), batch(2));
            disk.crash(&mut Rng::new(seed));
            assert!((1..=3).contains(&disk.durable(0).end().0));
            assert_eq!(disk.durable(0), disk.log(0));
        }
    }
}
