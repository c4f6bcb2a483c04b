//! What a controller is told of the metadata: a listing, then a watch for each prefix, each at its own
//! pace. From here on it is the real image, made of the records that a real metadata store would hold.

use tidelog_meta::{Entry, Event, Image, Listing, Live, Node, Revision as Mark, Value as _, keys};

use super::super::World;
use super::super::node::{Call, NodeEvent};
use crate::agenda::MS;
use crate::metadata::{Key, Request, Revision, Stored, Value, partition_id};
use crate::net::Site;

/// For each prefix of an image, the revision up to which it was told.
pub(super) type Positions = [Revision; PREFIXES];

const PREFIXES: usize = 5;

impl World {
    /// Asks for everything, unless that is under way.
    pub(super) fn list_cluster(&mut self, node: usize) {
        let Some((seat, now)) = self.seat(node) else { return };
        if !seat.lists {
            seat.lists = true;
            seat.term.listing(now);
            let seat = seat.revision;
            self.ask(node, Call::ListCluster { seat }, Request::List);
        }
    }

    /// The listing came, or did not.
    pub(in super::super) fn cluster_listed(
        &mut self,
        node: usize,
        asked_by: Revision,
        listed: Option<(Revision, Vec<(Key, Stored)>)>,
    ) {
        let Some((seat, now)) = self.seat(node).filter(|(seat, _)| seat.revision == asked_by) else { return };
        seat.lists = false;
        let Some((revision, entries)) = listed else { return };
        for (number, prefix) in Image::prefixes().iter().enumerate() {
            let under = entries.iter().filter(|(key, _)| prefix_of(*key) == Some(number));
            let entries = under.filter_map(|(key, stored)| entry(*key, &stored.value, stored.revision));
            let listing = Listing { revision: Mark(revision), entries: entries.collect() };
            seat.term.image_mut().replace(prefix, &listing);
        }
        seat.feed = Some([revision; PREFIXES]);
        seat.begun = true;
        seat.term.listed(now);
        self.pass(node);
        self.feed_soon(node);
    }

    /// The watches have something to tell.
    pub(in super::super) fn feed_soon(&mut self, node: usize) {
        let behind = self.metadata.revision();
        let wanted = self.seat(node).is_some_and(|(seat, _)| {
            let told = seat.feed.and_then(|positions| positions.into_iter().min());
            !seat.feed_due && told.is_some_and(|told| told < behind)
        });
        if wanted {
            let delay = self.watch_delay(node);
            if let Some((seat, _)) = self.seat(node) {
                seat.feed_due = true;
            }
            self.later(node, delay, NodeEvent::Feed);
        }
    }

    /// How long a watch takes to tell what has changed.
    pub(in super::super) fn watch_delay(&mut self, node: usize) -> u64 {
        let slow = self.troubles.lost_answers || self.troubles.late_requests;
        if self.nodes[node].late_watch || (slow && self.rng.chance(300)) {
            self.rng.between(100 * MS, 3_000 * MS)
        } else {
            self.rng.between(MS / 5, 8 * MS)
        }
    }

    /// Each watch tells some of what changed under its prefix, whole transactions in order.
    pub(in super::super) fn feed(&mut self, node: usize) {
        let is_cut = self.net.is_cut(Site::Meta, Site::Node(node)) || self.troubles.outage;
        let Some((seat, _)) = self.seat(node) else { return };
        seat.feed_due = false;
        let Some(mut positions) = seat.feed else { return };
        if is_cut {
            seat.feed = None;
            return;
        }
        let newest = self.metadata.revision();
        let mut events = Vec::new();
        for (prefix, position) in positions.iter_mut().enumerate() {
            let up_to = if self.rng.chance(200) { self.rng.between(*position, newest) } else { newest };
            let changes = self.metadata.changes_after(*position);
            let told = changes.iter().take_while(|change| change.revision <= up_to);
            let told = told.filter(|change| prefix_of(change.key) == Some(prefix));
            events.extend(told.filter_map(|change| match &change.value {
                Some(value) => entry(change.key, value, change.revision).map(Event::Put),
                None => deletion(change.key, change.revision),
            }));
            *position = up_to;
        }
        let Some((seat, now)) = self.seat(node) else { return };
        seat.feed = Some(positions);
        if !events.is_empty() {
            seat.term.changed(&events, now);
            self.news(node);
        }
        self.feed_soon(node);
    }
}

/// Under which prefix of an image a key is.
fn prefix_of(key: Key) -> Option<usize> {
    match key {
        Key::Node(_) => Some(0),
        Key::Live(_) => Some(1),
        Key::Drain(_) => Some(2),
        Key::Topic(_) => Some(3),
        Key::Partition(_) => Some(4),
        Key::Controller | Key::Pointer(_) => None,
    }
}

fn name_of(key: Key) -> Option<String> {
    Some(match key {
        Key::Node(node) => keys::node(node).to_string(),
        Key::Live(node) => keys::live(node).to_string(),
        Key::Drain(node) => keys::drain(node).to_string(),
        Key::Topic(partition) => keys::topic(partition_id(partition).topic).to_string(),
        Key::Partition(partition) => keys::partition(partition_id(partition)).to_string(),
        Key::Controller | Key::Pointer(_) => return None,
    })
}

/// What the metadata store of a real cluster holds in this place.
fn entry(key: Key, value: &Value, revision: Revision) -> Option<Entry> {
    let value = match (key, value) {
        (_, Value::Node { directory, boot }) => Node { directory: *directory, boot: *boot }.encode(),
        (Key::Live(node), Value::Live { directory, boot }) => {
            let (directory, boot) = (*directory, *boot);
            let (address, software) = (format!("n{node}:1"), String::new());
            Live { node, directory, boot, address, rack: None, software, roles: Vec::new(), draining: false }
                .encode()
        }
        (_, Value::Drain(drain)) => drain.encode(),
        (_, Value::Topic(topic)) => topic.encode(),
        (_, Value::Partition(partition)) => partition.encode(),
        _ => return None,
    };
    let mod_revision = Mark(revision);
    let key = name_of(key)?.into();
    Some(Entry { key, value, create_revision: mod_revision, mod_revision, version: 1, lease: None })
}

fn deletion(key: Key, revision: Revision) -> Option<Event> {
    Some(Event::Delete { key: name_of(key)?.into(), revision: Mark(revision) })
}
