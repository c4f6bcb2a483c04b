//! What a controller knows and has under way for as long as it leads.
//!
//! Pure: news go in with the time, [`Errand`]s come out. Whoever holds the term asks, tells and commits as
//! they say, and brings back what came of it; `lead` does so with tasks and a metadata store, a simulator
//! with messages that get lost. Times are since the term began.

mod passes;
mod unclean;
mod vouching;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidelog_meta::{Event, Image, Live};
use tidelog_model::{NodeId, TopicPartition};
use tidelog_peer::{HandOver, PartitionBytes, Pong};

use self::vouching::Seen;
use crate::Options;
use crate::health::{Health, Standing};
use crate::plan::leadership::Move;
use crate::plan::{Change, View, World};

/// News that come within this time are planned for together.
const GATHER: Duration = Duration::from_millis(10);

/// Listings after something unexpected are at least so far apart.
const LISTINGS_APART: Duration = Duration::from_secs(1);

/// Something to be done outside, bounded in time. The partitions that it is about are left alone by the
/// plan until what came of it is brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Ask these stores how far their logs reach, for at most [`Options::report_wait`]; then
    /// [`Term::reported`].
    Ask { partitions: Vec<TopicPartition>, stores: Vec<(Live, Vec<TopicPartition>)> },
    /// Tell these leaders to let what is under way finish, for at most [`Options::hand_over_wait`]; then
    /// [`Term::handed_over`], whatever they answered.
    HandOver { moves: Vec<Move>, leaders: Vec<(Live, Vec<HandOver>)> },
    /// Commit these, each compared with the record that it was planned from and with the election's key;
    /// then [`Term::committed`].
    Commit(Vec<Change>),
}

/// What came of a look at a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    Answered(Pong),
    Missed,
    /// Nobody listens where it was.
    Gone,
}

/// A controller's term of office.
#[derive(Clone, Debug)]
pub struct Term {
    options: Options,
    image: Image,
    health: Health,
    view: View,
    /// Partitions that an errand is about.
    busy: BTreeSet<TopicPartition>,
    /// Partitions whose last decision came to nothing, and when to try again.
    patience: BTreeMap<TopicPartition, Duration>,
    /// Partitions whose leader gave up and is leader again, and until when that has to do: one that
    /// gives up again and again causes few elections.
    cooling: BTreeMap<TopicPartition, Duration>,
    /// Reassignments under way.
    moving: BTreeMap<TopicPartition, Seen>,
    /// When to plan next.
    pass_at: Option<Duration>,
    due: Due,
    /// Something was not as the image says: list everything again.
    stale: bool,
    rules_broken: u64,
}

/// When things that are done now and then are due.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    prefer: Duration,
    balance: Duration,
    sizes: Duration,
    listing: Duration,
}

impl Term {
    /// A term that begins with nothing known: [`Term::listed`] comes first.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            image: Image::default(),
            health: Health::new(options),
            view: View::default(),
            busy: BTreeSet::new(),
            patience: BTreeMap::new(),
            cooling: BTreeMap::new(),
            moving: BTreeMap::new(),
            pass_at: Some(Duration::ZERO),
            due: Due { balance: options.balance_every, ..Due::default() },
            stale: false,
            rules_broken: 0,
        }
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    /// For listings; [`Term::listed`] is to follow.
    pub fn image_mut(&mut self) -> &mut Image {
        &mut self.image
    }

    pub fn world(&self) -> World<'_> {
        World::new(&self.image, &self.view)
    }

    /// Partitions that an errand is about.
    pub fn busy(&self) -> &BTreeSet<TopicPartition> {
        &self.busy
    }

    /// How many decisions would have broken a rule and were not carried out. Each is a bug.
    pub fn rules_broken(&self) -> u64 {
        self.rules_broken
    }

    /// When [`Term::pass`] is to be called next, beside the heartbeats.
    pub fn pass_at(&self) -> Option<Duration> {
        self.pass_at
    }

    /// Plans soon: news often come in swarms.
    fn plan_soon(&mut self, now: Duration) {
        self.pass_at.get_or_insert(now + GATHER);
    }

    pub(crate) fn plan_now(&mut self, now: Duration) {
        self.pass_at = Some(now);
    }

    /// The metadata changed, as a watch says. Answers whether a store came or went.
    pub fn changed(&mut self, events: &[Event], now: Duration) -> bool {
        for event in events {
            self.image.apply(event);
        }
        let met = events.iter().any(|event| event.key().starts_with("live/"));
        if met {
            self.meet_nodes(now);
            self.patience.clear();
        }
        self.plan_soon(now);
        met
    }

    /// The term's own transaction changed these.
    pub(crate) fn carried_out(&mut self, events: &[Event], well: bool, now: Duration) {
        for event in events {
            self.image.apply(event);
        }
        self.stale |= !well;
        self.plan_now(now);
    }

    /// The image is as listed.
    pub fn listed(&mut self, now: Duration) {
        self.stale = false;
        self.meet_nodes(now);
        self.forget_deleted();
    }

    /// Whether something was not as the image says, and the last listing is some time ago.
    pub fn wants_listing(&self, now: Duration) -> bool {
        self.stale && now >= self.due.listing
    }

    /// A listing begins.
    pub fn listing(&mut self, now: Duration) {
        self.due.listing = now + LISTINGS_APART;
    }

    fn meet_nodes(&mut self, now: Duration) {
        for live in self.image.live_nodes() {
            self.health.leased(live, now);
        }
        let known: Vec<_> = self.view.standings.keys().copied().collect();
        for node in known.into_iter().filter(|node| self.image.live(*node).is_none()) {
            self.health.lease_ended(node);
            self.view.standings.remove(&node);
        }
        self.judge(now);
    }

    /// What came of a look at the process that is live now.
    pub fn looked(&mut self, node: NodeId, look: Look, now: Duration) {
        match look {
            Look::Answered(pong) => self.health.answered(node, pong, now),
            Look::Missed => self.health.missed(node),
            Look::Gone => self.health.gone(node),
        }
        if self.judge(now) {
            self.patience.clear();
            self.plan_now(now);
        }
    }

    /// Brings the view up to date. Whether it matters now: somebody died, came back or resigned.
    fn judge(&mut self, now: Duration) -> bool {
        self.health.assess(now);
        let standings: BTreeMap<_, _> =
            self.image.live_nodes().map(|live| (live.node, self.health.standing(live.node, now))).collect();
        let resigned = self.health.resigned().collect();
        for (node, standing) in &standings {
            let before = self.view.standings.get(node);
            match (before, standing) {
                (Some(Standing::Dead) | None, Standing::Dead) => {}
                (_, Standing::Dead) => tracing::warn!(%node, "a store does not answer and is believed dead"),
                (Some(Standing::Dead), _) => tracing::info!(%node, "a store that was believed dead answers"),
                _ => {}
            }
        }
        let changed = standings != self.view.standings || resigned != self.view.resigned;
        self.view.standings = standings;
        self.view.resigned = resigned;
        changed
    }

    /// A heartbeat: time alone changes some verdicts. A pass is to follow.
    pub fn tick(&mut self, now: Duration) {
        self.judge(now);
        self.patience.retain(|_, until| *until > now);
        self.cooling.retain(|_, until| *until > now);
    }

    /// Whether it was cut off from most stores for so long that someone else should lead.
    pub fn should_step_down(&self, now: Duration) -> bool {
        self.health.should_step_down(now)
    }

    /// The stores to be asked for sizes, now and then; nobody, mostly.
    pub(crate) fn sizes_due(&mut self, now: Duration) -> Vec<Live> {
        if now < self.due.sizes {
            return Vec::new();
        }
        self.due.sizes = now + self.options.sizes_every;
        let world = self.world();
        self.image.live_nodes().filter(|live| world.up(live.node).is_some()).cloned().collect()
    }

    /// Local sizes of partitions, as their leaders say.
    pub fn sized(&mut self, sizes: &[PartitionBytes]) {
        self.view.sizes.extend(sizes.iter().map(|size| (size.partition, size.bytes)));
        self.forget_deleted();
    }

    fn forget_deleted(&mut self) {
        let image = &self.image;
        self.view.sizes.retain(|partition, _| image.partitions.contains_key(partition));
    }
}

#[cfg(test)]
mod tests;
