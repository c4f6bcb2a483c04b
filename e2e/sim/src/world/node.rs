//! A store's machine: what survives its process (disk, clock) and its process.

use std::collections::{BTreeMap, VecDeque};

use tidelog_controller::plan::Change as Decision;
use tidelog_meta::Partition;
use tidelog_model::{LeaderEpoch, NodeId, Offset};
use tidelog_replica::{Instance, Replica, Ticket};

use super::Event;
use super::controller::Controller;
use crate::agenda::Micros;
use crate::disk::{Disk, Synced};
use crate::log::Batch;
use crate::message::CallId;
use crate::metadata::{Change, Key, LeaseId, Request, Revision, Value};
use crate::net::Site;

/// A monotonic clock that starts anywhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub offset: Micros,
    pub drift_ppm: i64,
}

impl Clock {
    pub(super) fn at(&self, now: Micros) -> Micros {
        let drift = i128::from(now) * i128::from(self.drift_ppm) / 1_000_000;
        self.offset + (i128::from(now) + drift) as Micros
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub id: NodeId,
    /// Counts the processes: what was meant for an earlier one does not reach this one.
    pub life: u64,
    pub process: Option<Process>,
    pub paused: bool,
    /// What happened while the process stood still.
    pub missed: VecDeque<Event>,
    pub disk: Disk,
    /// A copy that was made when an earlier process had ended.
    pub older: Option<Disk>,
    pub clock: Clock,
    pub late_watch: bool,
}

#[derive(Debug)]
pub(super) struct Process {
    /// Known once this start is registered with the metadata store.
    pub instance: Option<Instance>,
    /// The revision of the node's key since then.
    pub registered_at: Revision,
    pub image: Image,
    pub lease: Lease,
    pub calls: BTreeMap<CallId, Call>,
    pub hosted: Vec<Hosted>,
    pub controller: Controller,
    /// The newest controller that asked for a hand-over.
    pub token: u64,
    /// Whether the first list has come.
    pub listed: bool,
    pub watching: bool,
    pub watch_due: bool,
}

/// One partition in one process.
#[derive(Debug)]
pub(super) struct Hosted {
    pub replica: Replica,
    /// The newest record that was seen, and its revision.
    pub record: (Revision, Partition),
    /// By the process's own clock: until then it takes no appends, so that its leadership can move.
    pub held_until: Micros,
    pub high_watermark: Offset,
    /// The epoch it leads, from `BecameLeader` to `StepDown`.
    pub leads: Option<LeaderEpoch>,
    pub resigned: Option<LeaderEpoch>,
    pub waiting: VecDeque<Waiting>,
    pub tiered_end: Offset,
    pub offloading: bool,
}

/// A client that waits for an offset to be committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub client: Site,
    pub call: CallId,
    pub batch: Batch,
}

#[derive(Debug, Default)]
pub(super) struct Lease {
    pub id: Option<LeaseId>,
    /// By the process's own clock.
    pub valid_until: Micros,
    pub asked_at: Micros,
    /// Whether `live/{node}` is put with it.
    pub announced: bool,
    pub fenced: bool,
}

/// What a question to the metadata store was about.
#[derive(Clone, Debug)]
pub(super) enum Call {
    ReadIdentity,
    Claim {
        boot: u64,
    },
    List,
    Grant,
    Announce {
        lease: LeaseId,
    },
    KeepAlive {
        asked_at: Micros,
    },
    Campaign,
    /// The controller of this seat lists the cluster.
    ListCluster {
        seat: Revision,
    },
    /// Decisions of the controller of this seat.
    Commit {
        seat: Revision,
        changes: Vec<Decision>,
    },
    /// Something whose outcome the watch tells.
    Order,
    ProposeIsr {
        partition: usize,
        ticket: Ticket,
    },
    ReadBack {
        partition: usize,
    },
    ReadTiered {
        partition: usize,
    },
    ReadPointer {
        partition: usize,
    },
    CommitPointer {
        partition: usize,
    },
}

/// What a process believes of the metadata store: a prefix of its history.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub revision: Revision,
    pub keys: BTreeMap<Key, (Value, Revision)>,
}

impl Image {
    pub(super) fn apply(&mut self, change: &Change) {
        self.revision = self.revision.max(change.revision);
        match &change.value {
            Some(value) => drop(self.keys.insert(change.key, (value.clone(), change.revision))),
            None => drop(self.keys.remove(&change.key)),
        }
    }
}

impl Process {
    pub(super) fn is_calling(&self, which: impl Fn(&Call) -> bool) -> bool {
        self.calls.values().any(which)
    }
}

/// What happens to one process of a node; nothing happens to a later one.
#[derive(Clone, Debug)]
pub(crate) enum NodeEvent {
    Tick,
    Synced,
    /// The replica is told what a sync made durable.
    Completed(Synced),
    Watch,
    /// No answer came in time.
    Timeout(CallId),
    Tier,
    /// A segment is in the bucket; the pointer is next.
    Uploaded {
        partition: usize,
        commit: Request,
    },
    /// Another node's process is said to be reachable, or gone.
    Neighbour {
        node: usize,
        here: bool,
    },
    /// The controller is told what changed.
    Feed,
    /// The controller wanted to plan about now.
    Pass,
    /// A ping found nobody.
    Refused {
        node: usize,
        round: u64,
    },
    /// A store could not be reached for an errand of the controller.
    ErrandRefused {
        call: CallId,
        by: NodeId,
    },
    /// Whoever has not answered by now has not answered.
    ErrandOver(CallId),
    /// Looks again whether what was appended is committed.
    Quiet {
        controller: Site,
        call: CallId,
        partitions: Vec<(usize, LeaderEpoch)>,
    },
    /// Looks again whether "latest" is confirmed.
    Latest {
        partition: usize,
        client: Site,
        call: CallId,
        tries: u32,
    },
    /// There is room on the way to another node again.
    SendReady {
        partition: usize,
        to: NodeId,
    },
}
