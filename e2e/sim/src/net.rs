//! The network: every message is lost, late, doubled or delivered, link by link and direction by direction.

use std::collections::{BTreeMap, BTreeSet};

use crate::agenda::{MS, Micros};
use crate::rng::Rng;

/// An end of a link: a node, a client or the metadata store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    Node(usize),
    Meta,
    Client(usize),
}

/// How links behave as long as they are up.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Lost messages in a thousand.
    pub loss: u64,
    /// Doubled messages in a thousand.
    pub doubled: u64,
    pub delay_max: Micros,
    /// Messages in a thousand that are delayed by up to a hundred times as much.
    pub stragglers: u64,
    /// Whether messages of a link overtake each other.
    pub reorders: bool,
}

impl Weather {
    pub(crate) const CALM: Self =
        Self { loss: 0, doubled: 0, delay_max: 2 * MS, stragglers: 0, reorders: false };
}

/// What becomes of one message: no, one or two arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) first: Option<Micros>,
    pub(crate) second: Option<Micros>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    cut: BTreeSet<(Site, Site)>,
    newest: BTreeMap<(Site, Site), Micros>,
    rng: Rng,
}

impl Network {
    pub(crate) fn new(weather: Weather, rng: Rng) -> Self {
        Self { weather, cut: BTreeSet::new(), newest: BTreeMap::new(), rng }
    }

    /// When a message that is sent now arrives.
    pub(crate) fn send(&mut self, from: Site, to: Site, now: Micros) -> Arrivals {
        if self.is_cut(from, to) || self.rng.chance(self.weather.loss) {
            return Arrivals::default();
        }
        let first = self.arrival(from, to, now);
        let second = self.rng.chance(self.weather.doubled).then(|| self.arrival(from, to, now));
        Arrivals { first: Some(first), second }
    }

    fn arrival(&mut self, from: Site, to: Site, now: Micros) -> Micros {
        let mut delay = self.rng.between(20, self.weather.delay_max);
        if self.rng.chance(self.weather.stragglers) {
            delay *= self.rng.between(2, 100);
        }
        if self.weather.reorders {
            return now + delay;
        }
        let newest = self.newest.entry((from, to)).or_default();
        *newest = (now + delay).max(*newest + 1);
        *newest
    }

    /// Whether nothing passes from one to the other. What is under way when a link is cut is lost, too.
    pub(crate) fn is_cut(&self, from: Site, to: Site) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: Site, to: Site) {
        self.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self, from: Site, to: Site) {
        self.cut.remove(&(from, to));
    }

    pub(crate) fn heal_all(&mut self) {
        self.cut.clear();
        self.weather = Weather::CALM;
    }
}
