//! The way to the bucket: upload, commit the pointer, drop what it covers. Each step may be interrupted.

use tidelog_model::Offset;
use tidelog_replica::{Event as Input, Generation, History, Marks};

use super::World;
use super::node::{Call, NodeEvent};
use crate::agenda::{MS, Micros};
use crate::bucket::Root;
use crate::checks::Ledger;
use crate::log::{Batch, Record};
use crate::metadata::{Compare, Key, Pointer, Put, Request, Stored, Value};

/// Longest upload, where nothing else makes it longer.
const UPLOAD_MAX: Micros = 200 * MS;

impl World {
    /// Looks where each pointer is, and goes on from there.
    pub(super) fn tier(&mut self, node: usize) {
        let pause = self.setup.tier_pause_max.unwrap_or(MS);
        let pause = self.rng.between(MS, pause);
        self.later(node, pause, NodeEvent::Tier);
        for partition in 0..self.process(node).hosted.len() {
            let hosted = &mut self.process(node).hosted[partition];
            if !hosted.offloading {
                hosted.offloading = true;
                let request = Request::Get(Key::Pointer(partition));
                self.ask(node, Call::ReadPointer { partition }, request);
            }
        }
    }

    pub(super) fn stop_offloading(&mut self, node: usize, partition: usize) {
        if let Some(hosted) = self.process(node).hosted.get_mut(partition) {
            hosted.offloading = false;
        }
    }

    pub(super) fn pointer_read(&mut self, node: usize, partition: usize, stored: Option<&Stored>) {
        let (pointer, revision) = match stored {
            Some(Stored { value: Value::Pointer(pointer), revision, .. }) => (Some(*pointer), *revision),
            _ => (None, 0),
        };
        let tiered_end = pointer.map_or(Offset::ZERO, |pointer| pointer.tiered_end);
        self.covered(node, partition, tiered_end);
        let hosted = &self.process(node).hosted[partition];
        let (leads, high_watermark) = (hosted.replica.report().leading, hosted.high_watermark);
        let log = self.nodes[node].disk.log(partition);
        let fresh = log.within(tiered_end, high_watermark);
        let Some(epoch) = leads.filter(|_| !fresh.is_empty() && log.start() <= tiered_end) else {
            return self.stop_offloading(node, partition);
        };
        let count = self.rng.between(1, fresh.len() as u64) as usize;
        let mut batches =
            pointer.map(|pointer| self.bucket.root(pointer.root).batches.clone()).unwrap_or_default();
        batches.extend_from_slice(&fresh[..count]);
        let end = batches.last().map_or(tiered_end, Batch::next);
        let mut history: History = log.history().clone();
        history.cut(end);
        let root = self.bucket.upload(Root { batches, epochs: history.entries().to_vec() });
        let value = Some(Value::Pointer(Pointer { root, epoch, tiered_end: end }));
        let compares =
            vec![Compare::Unchanged(Key::Pointer(partition), revision), Compare::Epoch(partition, epoch)];
        let commit =
            Request::Txn { compares, puts: vec![Put { key: Key::Pointer(partition), value, lease: None }] };
        let takes = self.rng.between(MS, UPLOAD_MAX) * if self.rng.chance(50) { 20 } else { 1 };
        self.later(node, takes, NodeEvent::Uploaded { partition, commit });
    }

    pub(super) fn commit_pointer(&mut self, node: usize, partition: usize, commit: Request) {
        self.ask(node, Call::CommitPointer { partition }, commit);
    }

    /// The bucket has everything below; some of it may go from this disk.
    fn covered(&mut self, node: usize, partition: usize, tiered_end: Offset) {
        let keeps = self.rng.chance(400);
        let hosted = &mut self.process(node).hosted[partition];
        hosted.tiered_end = hosted.tiered_end.max(tiered_end);
        let committed = hosted.high_watermark;
        let log = self.nodes[node].disk.log(partition);
        // A follower that does not know yet that these are committed keeps them.
        let droppable = log.within(log.start(), tiered_end.min(committed));
        let end = droppable.last().map(Batch::next).filter(|_| !keeps);
        if let Some(end) = end {
            let verdict = Ledger::on_trim(partition, end, tiered_end);
            self.judge(verdict);
            self.nodes[node].disk.write(partition, Generation::default(), Record::Trim(end));
            self.sync_soon(node);
        }
        let local_start = self.nodes[node].disk.log(partition).start();
        let marks = Marks { log_start: Offset::ZERO, local_start, tiered_end };
        self.step_replica(node, partition, Input::Marks(marks));
    }
}
