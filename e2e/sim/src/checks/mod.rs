//! What must hold, whatever happens: the invariants of `docs/architecture.md`, one function each, judged
//! by an observer that sees everything at once, as no process can.

mod durable;
mod leadership;
mod liveness;
mod naming;
mod readers;
mod retained;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use tidelog_meta::Partition;
use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Alarm, Instance};

use crate::agenda::{Micros, SECOND};
use crate::bucket::Bucket;
use crate::disk::Disk;
use crate::log::Batch;
use crate::metadata::{Metadata, Revision};

/// The promises, with the numbers they have among the design's invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// 1: an acknowledged record is durable on every disk from which a leader could be elected.
    AcknowledgedIsDurable,
    /// 1: nothing is acknowledged that fewer disks hold than `min.insync.replicas` asks for.
    FloorIsKept,
    /// 1: what clients were told, the log has, where they were told.
    ToldIsTrue,
    /// 2: an (epoch, offset) names one batch for ever.
    OneBatchAnEpochAndOffset,
    /// 2, 8: all replicas agree on what is committed.
    CommittedAgrees,
    /// 3: what is not in the bucket is not dropped.
    NothingUntieredIsDropped,
    /// 4, 5: what a pointer leads to is what was committed.
    BucketAgrees,
    /// 6: who leads an epoch is who the record of that epoch names.
    LeaderIsOfTheRecord,
    /// 6: the ISR never shrinks below the floor.
    IsrKeepsTheFloor,
    /// The controller's records: who leads was in sync, the ISR grows by its leader only, nobody is removed
    /// before those who come are in sync, and no decision has to be held back.
    RecordKeepsRules,
    /// 8: readers see committed records only, in order, without gaps.
    ReadersSeeCommitted,
    /// 8: the high watermark of one observer never goes back.
    HighWatermarkRises,
    /// "Latest" knows of everything that was acknowledged before it was asked for.
    LatestIsLinearizable,
    /// 9: what was refused is not there; what an idempotent producer sent is there once.
    RefusedIsAbsent,
    /// No alarm without a reason.
    NoFalseAlarm,
    /// When all faults are healed, all goes on.
    Liveness,
    /// The machine's own assertions hold.
    Asserted,
}

#[derive(Clone, Debug)]
pub struct Violation {
    pub at: Micros,
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / SECOND, self.at % SECOND);
        write!(f, "{:?} at {seconds}.{micros:06}: {}", self.invariant, self.what)
    }
}

type Verdict = Result<(), Violation>;

fn broken(invariant: Invariant, what: impl FnOnce() -> String) -> Verdict {
    Err(Violation { at: 0, invariant, what: what() })
}

/// Everything that was ever promised.
#[derive(Debug)]
pub(crate) struct Ledger {
    partitions: Vec<Promises>,
    seen: Revision,
    /// Disks that were replaced: what they held was durable until then.
    lost: Vec<Disk>,
}

#[derive(Debug, Default)]
struct Promises {
    /// Which value an (epoch, offset) has, on whatever disk it was ever written.
    named: HashMap<(LeaderEpoch, Offset), u32>,
    /// The committed log.
    committed: Vec<Batch>,
    acknowledged: BTreeMap<Offset, Batch>,
    /// What clients know: the end of what they were told is acknowledged, or is the latest.
    told_end: Offset,
    refused: BTreeSet<u32>,
    leaders: BTreeMap<LeaderEpoch, Instance>,
    isr_size: usize,
    record: Partition,
    /// Each observer's high watermark: a process's is its own.
    watermarks: BTreeMap<(usize, u64), Offset>,
    /// The partition's revision in the metadata store and its pointer's, as last judged.
    judged: (Revision, Revision),
    disk_changed: bool,
    appended: u64,
}

impl Promises {
    fn committed_end(&self) -> Offset {
        self.committed.last().map_or(Offset::ZERO, Batch::next)
    }

    /// The committed batch that begins at an offset.
    fn committed_at(&self, base: Offset) -> Option<&Batch> {
        let at = self.committed.binary_search_by_key(&base, |batch| batch.base).ok()?;
        self.committed.get(at)
    }
}

impl Ledger {
    pub(crate) fn new(partitions: usize) -> Self {
        Self { partitions: (0..partitions).map(|_| Promises::default()).collect(), seen: 0, lost: Vec::new() }
    }

    /// A disk lost something, by a crash, a cut or another disk in its place.
    pub(crate) fn disk_changed(&mut self, partition: usize) {
        self.partitions[partition].disk_changed = true;
    }

    /// Another disk stands in the place of this one.
    pub(crate) fn disk_lost(&mut self, disk: Disk) {
        self.lost.push(disk);
    }

    /// What has to be judged because this step changed it.
    pub(crate) fn after_step(&mut self, metadata: &Metadata, disks: &[&Disk], bucket: &Bucket) -> Verdict {
        let changed = metadata.revision() != self.seen;
        self.seen = metadata.revision();
        for number in 0..self.partitions.len() {
            if changed {
                self.leaders_are_named_once(number, metadata)?;
                self.isr_keeps_the_floor(number, metadata.floor(number), metadata)?;
                self.record_keeps_rules(number, metadata)?;
                self.bucket_agrees(number, metadata, bucket)?;
            }
            let record = metadata.partition_revision(number);
            let promises = &mut self.partitions[number];
            let record_changed = std::mem::replace(&mut promises.judged.0, record) != record;
            if std::mem::take(&mut promises.disk_changed) || record_changed {
                self.acknowledged_is_durable(number, metadata, disks)?;
            }
        }
        Ok(())
    }

    /// Judges everything once more, at the end.
    pub(crate) fn last_look(&self, metadata: &Metadata, disks: &[&Disk]) -> Verdict {
        for number in 0..self.partitions.len() {
            self.acknowledged_is_durable(number, metadata, disks)?;
            self.members_agree(number, metadata, disks)?;
            self.refused_is_absent(number)?;
        }
        Ok(())
    }

    /// The correct machine never has a reason to call a person.
    pub(crate) fn on_alarm(node: usize, partition: usize, alarm: &Alarm) -> Verdict {
        broken(Invariant::NoFalseAlarm, || format!("n{node} p{partition}: {alarm}"))
    }

    pub(crate) fn appended(&self) -> u64 {
        self.partitions.iter().map(|promises| promises.appended).sum()
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.partitions.iter().map(|promises| promises.acknowledged.len() as u64).sum()
    }

    pub(crate) fn elections(&self) -> u64 {
        self.partitions.iter().map(|promises| promises.leaders.len() as u64).sum()
    }
}
