//! One store: a process that lives and dies, and the disk that stays.

use std::collections::BTreeMap;

use tidelog_model::{DirectoryId, Offset};
use tidelog_replica::{Config, Instance, Instant, Marks, Replica, Span};

use super::disk::Disk;

pub(crate) struct Host {
    pub(crate) me: Instance,
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    /// Disks that were taken away: what was acknowledged was true when it was said.
    pub(crate) earlier_disks: Vec<Disk>,
    /// What the store knows of its tiers; survives, as the pointer does.
    pub(crate) marks: Marks,
    pub(crate) replica: Option<Replica>,
    /// What the process would read from its journal.
    pub(crate) batches: BTreeMap<Offset, Span>,
    /// Its clock is not the world's.
    clock_ahead: u64,
    pub(crate) high_watermark_seen: Offset,
}

impl Host {
    pub(crate) fn new(me: Instance, config: Config) -> Self {
        let clock_ahead = u64::from(me.node().0) * 77_777_777;
        Self {
            me,
            config,
            disk: Disk::default(),
            earlier_disks: Vec::new(),
            marks: Marks::default(),
            replica: None,
            batches: BTreeMap::new(),
            clock_ahead,
            high_watermark_seen: Offset::ZERO,
        }
    }

    pub(crate) fn start(&mut self) {
        let replayed = self.disk.replay(false);
        self.batches = replayed.batches;
        let recovered = self.disk.recovered(self.marks);
        self.marks = recovered.marks;
        self.high_watermark_seen = Offset::ZERO;
        self.replica = Some(Replica::new(self.me, self.config, recovered));
    }

    pub(crate) fn crash(&mut self, kept: usize) {
        self.replica = None;
        self.disk.crash(kept);
        self.me.boot += 1;
    }

    pub(crate) fn replace_disk(&mut self, directory: DirectoryId) {
        self.earlier_disks.push(std::mem::take(&mut self.disk));
        self.marks = Marks::default();
        self.me.replica.directory = directory;
    }

    pub(crate) fn clock(&self, now: u64) -> Instant {
        Instant(now + self.clock_ahead)
    }
}
