//! What the mesh did, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Since the start, but for the first three, which are as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MeshCounts {
    pub peers: u64,
    /// Peers with an open lane.
    pub open_lanes: u64,
    /// Partitions that have something to send to a peer, summed over peers.
    pub queued_partitions: u64,
    pub lanes_opened: u64,
    /// Attempts to open a lane that failed.
    pub lanes_failed: u64,
    /// Leads, batches and heartbeats handed to the transport.
    pub sent_messages: u64,
    pub sent_frames: u64,
    /// Bytes of batches.
    pub sent_bytes: u64,
    pub received_answers: u64,
    /// Leads, pushes and heartbeats that found no open lane.
    pub dropped_messages: u64,
    /// Lanes that leaders opened here.
    pub followed_lanes: u64,
    pub received_messages: u64,
    pub received_bytes: u64,
    pub sent_answers: u64,
    /// Answers to leaders without a lane here.
    pub dropped_answers: u64,
}

/// The same while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    lanes_opened: AtomicU64,
    lanes_failed: AtomicU64,
    sent_messages: AtomicU64,
    sent_frames: AtomicU64,
    sent_bytes: AtomicU64,
    received_answers: AtomicU64,
    dropped_messages: AtomicU64,
    followed_lanes: AtomicU64,
    received_messages: AtomicU64,
    received_bytes: AtomicU64,
    sent_answers: AtomicU64,
    dropped_answers: AtomicU64,
}

impl Counters {
    pub(super) fn counts(&self) -> MeshCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MeshCounts {
            lanes_opened: get(&self.lanes_opened),
            lanes_failed: get(&self.lanes_failed),
            sent_messages: get(&self.sent_messages),
            sent_frames: get(&self.sent_frames),
            sent_bytes: get(&self.sent_bytes),
            received_answers: get(&self.received_answers),
            dropped_messages: get(&self.dropped_messages),
            followed_lanes: get(&self.followed_lanes),
            received_messages: get(&self.received_messages),
            received_bytes: get(&self.received_bytes),
            sent_answers: get(&self.sent_answers),
            dropped_answers: get(&self.dropped_answers),
            ..MeshCounts::default()
        }
    }

    pub(super) fn lane_opened(&self) {
        add(&self.lanes_opened, 1);
    }

    pub(super) fn lane_failed(&self) {
        add(&self.lanes_failed, 1);
    }

    pub(super) fn sent(&self, messages: usize, bytes: usize) {
        add(&self.sent_frames, 1);
        add(&self.sent_messages, messages);
        add(&self.sent_bytes, bytes);
    }

    pub(super) fn received_answers(&self, answers: usize) {
        add(&self.received_answers, answers);
    }

    pub(super) fn dropped_message(&self) {
        add(&self.dropped_messages, 1);
    }

    pub(super) fn followed_lane(&self) {
        add(&self.followed_lanes, 1);
    }

    pub(super) fn received(&self, messages: usize, bytes: usize) {
        add(&self.received_messages, messages);
        add(&self.received_bytes, bytes);
    }

    pub(super) fn sent_answers(&self, answers: usize) {
        add(&self.sent_answers, answers);
    }

    pub(super) fn dropped_answer(&self) {
        add(&self.dropped_answers, 1);
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
