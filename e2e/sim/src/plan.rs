//! What will go wrong, and when: drawn from the seed before the run begins, so that a run can be repeated
//! with some of it left out.

use crate::agenda::{MS, Micros, SECOND};
use crate::net::{Site, Weather};
use crate::rng::Rng;

/// One thing that goes wrong, for a while.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub at: Micros,
    pub lasts: Micros,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The process is killed, and started again afterwards. What was not synced may be lost.
    Crash {
        node: usize,
    },
    /// All of them at once.
    PowerLoss,
    /// The process comes back on an empty disk.
    Wipe {
        node: usize,
    },
    /// The process comes back on a copy of its disk that was made before its last start.
    OlderDisk {
        node: usize,
    },
    /// The process stands still, its clock does not.
    Pause {
        node: usize,
    },
    /// Nothing passes from one site to the other.
    OneWay {
        from: Site,
        to: Site,
    },
    /// Nothing passes between two sites.
    Cut {
        one: Site,
        other: Site,
    },
    /// Nothing passes to or from a node.
    Isolate {
        node: usize,
    },
    Storm {
        weather: Weather,
    },
    SlowDisk {
        node: usize,
        slowness: u64,
    },
    FullDisk {
        node: usize,
    },
    /// A sync fails: the process ends, and is started again.
    DiskError {
        node: usize,
    },
    /// A batch that was placed or taken cannot be written.
    LocalLost {
        node: usize,
        partition: usize,
    },
    /// The metadata store does what it is asked to and its answers are lost.
    LostAnswers,
    /// Requests to the metadata store take seconds, beyond their senders' patience.
    LateRequests,
    /// The metadata store answers nobody.
    MetadataOutage,
    /// A node's watch breaks, and is made again from a list.
    BrokenWatch {
        node: usize,
    },
    /// What a node is told by its watch is old.
    LateWatch {
        node: usize,
    },
    /// The controller's key is deleted while it goes on to believe in it.
    Usurp,
    /// An operator prefers another leader.
    Move {
        partition: usize,
    },
    /// An operator wants a node to lead nothing, or to hold nothing.
    Drain {
        node: usize,
        decommission: bool,
    },
    /// An operator wants another number of replicas.
    Replication {
        partition: usize,
        replicas: u32,
    },
    /// A leader is cut off from all stores and from the metadata, but not from its clients, and everyone
    /// else finds its port shut: it does not know, and goes on to answer while another is elected.
    Oust {
        partition: usize,
    },
    /// A store hands its leaderships over.
    Resign {
        node: usize,
    },
    /// An operator moves the replicas to other nodes.
    Reassign {
        partition: usize,
    },
    /// A node is told that another is gone, which is not so.
    Rumour {
        node: usize,
        about: usize,
    },
}

impl Kind {
    /// The partition that it concerns, where it concerns one.
    pub(crate) fn partition(&self) -> Option<usize> {
        match self {
            Self::LocalLost { partition, .. }
            | Self::Move { partition }
            | Self::Oust { partition }
            | Self::Replication { partition, .. }
            | Self::Reassign { partition } => Some(*partition),
            _ => None,
        }
    }
}

/// How long the plan goes on, whatever a run's steps are.
const HORIZON: Micros = 30 * SECOND;
/// Before the first fault, everybody finds each other.
const QUIET: Micros = 500 * MS;

/// Draws a plan. Each seed favours some kinds and leaves others out: runs that do a few things often find
/// what runs that do everything a little do not.
pub(crate) fn draw(rng: &mut Rng, nodes: usize, partitions: usize) -> Vec<Fault> {
    let weights: Vec<u64> = (0..KINDS).map(|_| if rng.chance(550) { rng.between(1, 4) } else { 0 }).collect();
    let total: u64 = weights.iter().sum();
    let (gap_max, lasts_max) = (rng.between(40, 900) * MS, rng.between(50, 3_000) * MS);
    let mut faults = Vec::new();
    let mut at = QUIET;
    while at < HORIZON && total > 0 {
        at += rng.between(MS, gap_max);
        let mut ticket = rng.below(total);
        let kind = weights.iter().position(|weight| {
            let chosen = ticket < *weight;
            ticket = ticket.saturating_sub(*weight);
            chosen
        });
        let kind = kind_of(kind.unwrap_or_default(), rng, nodes, partitions);
        faults.push(Fault { at, lasts: rng.between(5 * MS, lasts_max), kind });
    }
    faults
}

/// Leaderships that move all the time: followers cut and append in turn, with syncs under way.
pub(crate) fn churn(rng: &mut Rng, partitions: usize) -> Vec<Fault> {
    let (gap_max, mut at, mut faults) = (rng.between(40, 500) * MS, QUIET, Vec::new());
    while at < HORIZON {
        at += rng.between(MS, gap_max);
        faults.push(Fault { at, lasts: MS, kind: Kind::Move { partition: rng.index(partitions) } });
    }
    faults
}

const KINDS: usize = 26;

fn kind_of(number: usize, rng: &mut Rng, nodes: usize, partitions: usize) -> Kind {
    let node = rng.index(nodes);
    let other = (node + 1 + rng.index(nodes - 1)) % nodes;
    let partition = rng.index(partitions);
    let far = if rng.chance(300) { Site::Meta } else { Site::Node(other) };
    match number {
        0 => Kind::Crash { node },
        1 => Kind::PowerLoss,
        2 => Kind::Wipe { node },
        3 => Kind::OlderDisk { node },
        4 => Kind::Pause { node },
        5 if rng.chance(500) => Kind::OneWay { from: Site::Node(node), to: far },
        5 => Kind::OneWay { from: far, to: Site::Node(node) },
        6 => Kind::Cut { one: Site::Node(node), other: far },
        7 => Kind::Isolate { node },
        8 => Kind::Storm { weather: storm(rng) },
        9 => Kind::SlowDisk { node, slowness: rng.between(10, 3_000) },
        10 => Kind::FullDisk { node },
        11 => Kind::DiskError { node },
        12 => Kind::LocalLost { node, partition },
        13 => Kind::LostAnswers,
        14 => Kind::LateRequests,
        15 => Kind::MetadataOutage,
        16 => Kind::BrokenWatch { node },
        17 => Kind::LateWatch { node },
        18 => Kind::Usurp,
        19 => Kind::Move { partition },
        20 => Kind::Resign { node },
        21 => Kind::Reassign { partition },
        22 => Kind::Oust { partition },
        23 => Kind::Drain { node, decommission: rng.chance(500) },
        24 => Kind::Replication { partition, replicas: rng.between(1, nodes as u64) as u32 },
        _ => Kind::Rumour { node, about: other },
    }
}

/// Weather for a run, or for a while.
pub(crate) fn storm(rng: &mut Rng) -> Weather {
    let some = |rng: &mut Rng, max: u64| if rng.chance(500) { rng.below(max) } else { 0 };
    Weather {
        loss: some(rng, 200),
        doubled: some(rng, 200),
        delay_max: rng.between(1, 30) * MS,
        stragglers: some(rng, 60),
        reorders: rng.chance(500),
    }
}
