//! Who is alive, as far as can be told before a lease ends.
//!
//! A verdict only decides when leaders change, never whether a write is safe: epochs do that. So it may
//! be quick and sometimes wrong. Two things keep it from doing harm: a store that keeps failing is not
//! given leaderships for a while that doubles ([`Standing::Probation`]), and a controller that itself
//! hears of fewer than half of the stores takes silence for its own fault ([`Health::is_isolated`]).

use std::collections::BTreeMap;
use std::time::Duration;

use tidelog_meta::Live;
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, TopicPartition};
use tidelog_peer::Pong;

use crate::Options;

/// A store that was well for this long has its earlier failures forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_mins(5);

/// What to think of a store that holds its lease. Ordered: what comes later is to be preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It does not answer, or another process has taken its place.
    Dead,
    /// It answers, and its disk is too slow to lead.
    Unfit,
    /// It came back a short while ago.
    Probation,
    Good,
}

/// The judgement on every store. All times are since a moment that the caller has chosen.
#[derive(Clone, Debug)]
pub struct Health {
    options: Options,
    nodes: BTreeMap<NodeId, NodeHealth>,
    isolated_since: Option<Duration>,
}

#[derive(Clone, Debug)]
struct NodeHealth {
    directory: DirectoryId,
    boot: u64,
    /// It holds its lease.
    leased: bool,
    misses: u32,
    /// How often this start has answered.
    answers: u64,
    gone: bool,
    fit: bool,
    resigned: Vec<(TopicPartition, LeaderEpoch)>,
    /// How often it failed without a long good time between.
    failures: u32,
    up_since: Duration,
    probation_until: Duration,
}

impl NodeHealth {
    fn is_silent(&self, misses_max: u32) -> bool {
        !self.gone && self.misses >= misses_max
    }

    /// It is back after something that no healthy store does.
    fn return_after_failure(&mut self, now: Duration, options: &Options) {
        if now.saturating_sub(self.up_since) > FORGIVEN_AFTER {
            self.failures = 0;
        }
        let doubled = options.probation.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.up_since = now;
        self.probation_until = now + doubled.min(options.probation_max);
    }
}

impl Health {
    pub fn new(options: Options) -> Self {
        Self { options, nodes: BTreeMap::new(), isolated_since: None }
    }

    /// A store holds its lease; repeated for as long as it does.
    pub fn leased(&mut self, live: &Live, now: Duration) {
        let fresh = NodeHealth {
            directory: live.directory,
            boot: live.boot,
            leased: true,
            misses: 0,
            answers: 0,
            gone: false,
            fit: true,
            resigned: Vec::new(),
            failures: 0,
            up_since: now,
            probation_until: Duration::ZERO,
        };
        let health = self.nodes.entry(live.node).or_insert(fresh);
        let restarted = (health.directory, health.boot) != (live.directory, live.boot);
        if restarted || !health.leased {
            let failed =
                std::mem::replace(health, NodeHealth { failures: health.failures, ..health.clone() });
            *health = NodeHealth {
                directory: live.directory,
                boot: live.boot,
                leased: true,
                misses: 0,
                answers: 0,
                gone: false,
                resigned: Vec::new(),
                ..failed
            };
            health.return_after_failure(now, &self.options);
        }
    }

    /// A store's lease has ended.
    pub fn lease_ended(&mut self, node: NodeId) {
        if let Some(health) = self.nodes.get_mut(&node) {
            health.leased = false;
        }
    }

    /// A store answered.
    pub fn answered(&mut self, node: NodeId, pong: Pong, now: Duration) {
        let (options, Some(health)) = (self.options, self.nodes.get_mut(&node)) else { return };
        if (pong.directory, pong.boot) != (health.directory, health.boot) {
            // Another process answers there; the one that is registered is no more.
            health.gone = true;
            return;
        }
        if health.gone || health.misses >= options.misses {
            health.return_after_failure(now, &options);
        }
        health.misses = 0;
        health.answers += 1;
        health.gone = false;
        health.fit = pong.fit;
        health.resigned = pong.resigned;
    }

    /// A store did not answer in time.
    pub fn missed(&mut self, node: NodeId) {
        if let Some(health) = self.nodes.get_mut(&node) {
            health.misses = health.misses.saturating_add(1);
        }
    }

    /// Nobody listens where the store was.
    pub fn gone(&mut self, node: NodeId) {
        if let Some(health) = self.nodes.get_mut(&node) {
            health.gone = true;
        }
    }

    /// Looks whether it is rather the controller that is cut off.
    pub fn assess(&mut self, now: Duration) {
        let leased = self.nodes.values().filter(|health| health.leased);
        let (silent, all) = leased.fold((0, 0), |(silent, all), health| {
            (silent + usize::from(health.is_silent(self.options.misses)), all + 1)
        });
        if 2 * silent > all {
            self.isolated_since.get_or_insert(now);
        } else {
            self.isolated_since = None;
        }
    }

    /// More than half of the stores that hold their lease are silent: that says more about the one who
    /// asks than about them.
    pub fn is_isolated(&self) -> bool {
        self.isolated_since.is_some()
    }

    /// Isolated for so long that someone else should be controller.
    pub fn should_step_down(&self, now: Duration) -> bool {
        self.isolated_since.is_some_and(|since| now.saturating_sub(since) >= self.options.isolation_max)
    }

    pub fn standing(&self, node: NodeId, now: Duration) -> Standing {
        let Some(health) = self.nodes.get(&node).filter(|health| health.leased) else {
            return Standing::Dead;
        };
        let silent = health.is_silent(self.options.misses) && !self.is_isolated();
        if health.gone || silent {
            Standing::Dead
        } else if !health.fit {
            Standing::Unfit
        } else if now < health.probation_until {
            Standing::Probation
        } else {
            Standing::Good
        }
    }

    /// How often a start of a store has answered; `None` while another one is registered.
    pub fn answers(&self, node: NodeId, boot: u64) -> Option<u64> {
        self.nodes.get(&node).filter(|health| health.boot == boot).map(|health| health.answers)
    }

    /// Leaderships that stores have given up.
    pub fn resigned(&self) -> impl Iterator<Item = (NodeId, TopicPartition, LeaderEpoch)> {
        self.nodes.iter().filter(|(_, health)| health.leased).flat_map(|(node, health)| {
            health.resigned.iter().map(|(partition, epoch)| (*node, *partition, *epoch))
        })
    }
}

#[cfg(test)]
mod tests;
