//! Where subscriptions put what they have read and the consumer takes it from: a place of bounded size
//! for each partition, served in turn.
//!
//! Seeking gives a place another *generation*: what a subscription of an earlier one still brings is
//! turned away.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tidelog_model::{Offset, PartitionId};
use tokio::sync::{Notify, watch};

use super::options::StartAt;
use super::record::ConsumedBatch;
use crate::Error;

/// No position is known yet.
const NOWHERE: u64 = u64::MAX;

/// What the consumer gets in its turn.
#[derive(Debug)]
pub(super) enum Item {
    Batch(ConsumedBatch),
    /// Reading fails; it goes on being tried.
    Trouble(Error),
    /// Nothing more comes, until the next seek.
    Ended,
    /// Reading has failed for good, until the next seek.
    Failed(Error),
}

/// Which partition's turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) generation: u64,
}

/// What a subscription may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Read,
    /// Its place is full.
    Full,
    /// Nobody wants its records now: it should let its stream go, which would hold up others.
    Paused,
}

#[derive(Debug)]
pub(super) struct Shelf {
    state: Mutex<State>,
    slots: Vec<SlotHandle>,
    /// Something may be caught up.
    progress: Notify,
}

#[derive(Debug)]
struct SlotHandle {
    partition: PartitionId,
    /// The offset after the last record that the application got.
    position: AtomicU64,
    generation: watch::Sender<u64>,
    /// Room was made, or a pause ended.
    room: Notify,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    /// Slots with something to take, each once.
    turns: VecDeque<usize>,
    waker: Option<Waker>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    start: StartAt,
    items: VecDeque<Item>,
    bytes: usize,
    in_turns: bool,
    paused: bool,
    /// No subscription brings anything.
    over: bool,
    /// The server had nothing after this offset.
    caught_up_at: Option<Offset>,
}

impl Slot {
    fn new(start: StartAt, generation: u64) -> Self {
        Self {
            generation,
            start,
            items: VecDeque::new(),
            bytes: 0,
            in_turns: false,
            paused: false,
            over: false,
            caught_up_at: None,
        }
    }
}

fn bytes_of(item: &Item) -> usize {
    match item {
        Item::Batch(batch) => batch.batch.as_bytes().len(),
        _ => 0,
    }
}

impl Shelf {
    /// A place of `bytes_max` for each partition.
    pub(super) fn new(partitions: &[PartitionId], start: StartAt, bytes_max: usize) -> Self {
        let handle = |partition: &PartitionId| SlotHandle {
            partition: *partition,
            position: AtomicU64::new(NOWHERE),
            generation: watch::Sender::new(0),
            room: Notify::new(),
        };
        let slots = partitions.iter().map(|_| Slot::new(start, 0)).collect();
        Self {
            state: Mutex::new(State { slots, turns: VecDeque::new(), waker: None, bytes_max }),
            slots: partitions.iter().map(handle).collect(),
            progress: Notify::new(),
        }
    }

    pub(super) fn partition(&self, slot: usize) -> PartitionId {
        self.slots[slot].partition
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.slots.iter().map(|slot| slot.partition)
    }

    pub(super) fn find(&self, partition: PartitionId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.partition == partition)
    }

    // What subscriptions do.

    /// The generation that a slot is in, and where it begins.
    pub(super) fn assignment(&self, slot: usize) -> (Place, StartAt) {
        let state = self.state.lock();
        let Slot { generation, start, .. } = state.slots[slot];
        (Place { slot, generation }, start)
    }

    /// Waits until the place is another generation's.
    pub(super) async fn moved(&self, place: Place) {
        let mut generation = self.slots[place.slot].generation.subscribe();
        // The sender lives as long as the shelf does.
        let _ = generation.wait_for(|now| *now != place.generation).await;
    }

    pub(super) fn admission(&self, place: Place) -> Admission {
        let state = self.state.lock();
        let slot = &state.slots[place.slot];
        match (slot.bytes < state.bytes_max, slot.paused) {
            (true, false) => Admission::Read,
            (_, true) => Admission::Paused,
            (false, false) => Admission::Full,
        }
    }

    /// Waits until more may be read.
    pub(super) async fn admitted(&self, place: Place) {
        while self.admission(place) != Admission::Read {
            self.slots[place.slot].room.notified().await;
        }
    }

    /// A subscription begins at `offset`.
    pub(super) fn begun(&self, place: Place, offset: Offset) {
        let state = self.state.lock();
        if state.slots[place.slot].generation == place.generation {
            let position = &self.slots[place.slot].position;
            let _ = position.compare_exchange(NOWHERE, offset.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    pub(super) fn put(&self, place: Place, item: Item) {
        let mut state = self.state.lock();
        let slot = &mut state.slots[place.slot];
        if slot.generation != place.generation {
            return;
        }
        slot.bytes += bytes_of(&item);
        match &item {
            Item::Batch(_) => slot.caught_up_at = None,
            Item::Ended | Item::Failed(_) => slot.over = true,
            Item::Trouble(_) => {}
        }
        slot.items.push_back(item);
        state.offer(place.slot);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The server has nothing after `offset` for now.
    pub(super) fn caught_up_to(&self, place: Place, offset: Offset) {
        let mut state = self.state.lock();
        let slot = &mut state.slots[place.slot];
        if slot.generation == place.generation {
            slot.caught_up_at = Some(offset);
            drop(state);
            self.progress.notify_waiters();
        }
    }

    // What the consumer does.

    /// The next item; `None` when nothing will ever come.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<(Place, Item)>> {
        let mut state = self.state.lock();
        while let Some(index) = state.turns.pop_front() {
            let slot = &mut state.slots[index];
            slot.in_turns = false;
            if slot.paused {
                continue;
            }
            let Some(item) = slot.items.pop_front() else { continue };
            slot.bytes -= bytes_of(&item);
            let place = Place { slot: index, generation: slot.generation };
            state.offer(index);
            drop(state);
            self.slots[index].room.notify_one();
            return Poll::Ready(Some((place, item)));
        }
        if state.slots.iter().all(|slot| slot.over && slot.items.is_empty()) {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Puts back what was taken and not used up.
    pub(super) fn put_back(&self, place: Place, batch: ConsumedBatch) {
        let mut state = self.state.lock();
        let slot = &mut state.slots[place.slot];
        if slot.generation == place.generation {
            slot.bytes += batch.batch.as_bytes().len();
            slot.items.push_front(Item::Batch(batch));
            state.offer(place.slot);
        }
    }

    pub(super) fn pause(&self, slot: usize) {
        self.state.lock().slots[slot].paused = true;
    }

    pub(super) fn resume(&self, slot: usize) {
        let mut state = self.state.lock();
        state.slots[slot].paused = false;
        state.offer(slot);
        let waker = state.waker.take();
        drop(state);
        self.slots[slot].room.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops what was read ahead and begins elsewhere.
    pub(super) fn seek(&self, slot: usize, start: StartAt) {
        let mut state = self.state.lock();
        let old = &state.slots[slot];
        let new = Slot { in_turns: old.in_turns, paused: old.paused, ..Slot::new(start, old.generation + 1) };
        let generation = new.generation;
        state.slots[slot] = new;
        self.slots[slot].position.store(NOWHERE, Ordering::Relaxed);
        drop(state);
        self.slots[slot].room.notify_one();
        self.slots[slot].generation.send_replace(generation);
    }

    /// The application has everything of this partition below `offset`.
    pub(super) fn advance(&self, place: Place, offset: Offset) {
        self.slots[place.slot].position.store(offset.0, Ordering::Relaxed);
    }

    /// A batch was used up.
    pub(super) fn progressed(&self) {
        self.progress.notify_waiters();
    }

    pub(super) fn position(&self, slot: usize) -> Option<Offset> {
        match self.slots[slot].position.load(Ordering::Relaxed) {
            NOWHERE => None,
            offset => Some(Offset(offset)),
        }
    }

    /// The application has everything that there was to read when the server last looked.
    pub(super) fn is_caught_up(&self) -> bool {
        let state = self.state.lock();
        state.slots.iter().enumerate().all(|(index, slot)| {
            let position = self.position(index);
            let reached = slot.caught_up_at.is_some_and(|end| position.is_some_and(|at| at >= end));
            slot.items.is_empty() && (slot.over || reached)
        })
    }

    pub(super) async fn caught_up(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.is_caught_up() {
                return;
            }
            progress.await;
        }
    }
}

impl State {
    /// Gives a slot its turn, if it has something that is wanted.
    fn offer(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.in_turns && !slot.paused && !slot.items.is_empty() {
            slot.in_turns = true;
            self.turns.push_back(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use bytes::BytesMut;
    use tidelog_format::batch::{Batch, BatchBuilder, BatchOptions, assign};
    use tidelog_model::{LeaderEpoch, TimestampMs};

    fn batch(partition: u32, base: u64) -> Item {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(TimestampMs(1), None, Some(b"value"), &[]).unwrap();
        let mut bytes: BytesMut = builder.finish();
        assign(&mut bytes, Offset(base), LeaderEpoch(1));
        Item::Batch(ConsumedBatch {
            topic: "numbers".into(),
            partition: PartitionId(partition),
            batch: Batch::parse(bytes.freeze()).unwrap(),
            first_wanted: Offset(base),
            high_watermark: Offset(base + 1),
        })
    }

    fn shelf(partitions: u32, bytes_max: usize) -> (Shelf, Vec<Place>) {
        let ids: Vec<_> = (0..partitions).map(PartitionId).collect();
        let shelf = Shelf::new(&ids, StartAt::Start, bytes_max);
        let places = (0..ids.len()).map(|slot| shelf.assignment(slot).0).collect();
        (shelf, places)
    }

    fn take(shelf: &Shelf) -> Poll<Option<(usize, u64)>> {
        let cx = Context::from_waker(Waker::noop());
        shelf.poll_take(&cx).map(|taken| {
            taken.map(|(place, item)| match item {
                Item::Batch(batch) => (place.slot, batch.batch.base_offset().0),
                _ => (place.slot, u64::MAX),
            })
        })
    }

    #[test]
    fn partitions_take_turns_and_keep_their_order() {
        let (shelf, places) = shelf(2, 1 << 20);
        for base in 0..3 {
            shelf.put(places[0], batch(0, base));
        }
        shelf.put(places[1], batch(1, 7));
        let taken: Vec<_> = (0..4).map(|_| take(&shelf)).collect();
        assert_eq!(taken, [(0, 0), (1, 7), (0, 1), (0, 2)].map(|t| Poll::Ready(Some(t))));
        assert_eq!(take(&shelf), Poll::Pending);
    }

    #[test]
    fn a_full_place_admits_nothing_until_it_is_emptied() {
        let (shelf, places) = shelf(2, 10);
        assert_eq!(shelf.admission(places[0]), Admission::Read);
        shelf.put(places[0], batch(0, 0));
        assert_eq!(shelf.admission(places[0]), Admission::Full);
        assert_eq!(shelf.admission(places[1]), Admission::Read);
        assert!(take(&shelf).is_ready());
        assert_eq!(shelf.admission(places[0]), Admission::Read);
    }

    #[test]
    fn a_paused_partition_waits_and_does_not_hold_up_another() {
        let (shelf, places) = shelf(2, 1 << 20);
        shelf.put(places[0], batch(0, 0));
        shelf.put(places[1], batch(1, 0));
        let Poll::Ready(Some((place, Item::Batch(half_read)))) =
            shelf.poll_take(&Context::from_waker(Waker::noop()))
        else {
            panic!("a batch is there")
        };
        shelf.pause(0);
        shelf.put_back(place, half_read);
        assert_eq!(shelf.admission(places[0]), Admission::Paused);
        shelf.put(places[0], batch(0, 1));
        assert_eq!(take(&shelf), Poll::Ready(Some((1, 0))));
        assert_eq!(take(&shelf), Poll::Pending);
        shelf.resume(0);
        assert_eq!(take(&shelf), Poll::Ready(Some((0, 0))));
        shelf.pause(0);
        assert_eq!(take(&shelf), Poll::Pending);
    }

    #[tokio::test]
    async fn after_a_seek_what_was_read_before_is_turned_away() {
        let (shelf, places) = shelf(1, 1 << 20);
        shelf.begun(places[0], Offset(0));
        shelf.put(places[0], batch(0, 0));
        shelf.seek(0, StartAt::Offset(Offset(50)));
        shelf.moved(places[0]).await;
        shelf.put(places[0], batch(0, 1));
        shelf.begun(places[0], Offset(2));
        assert_eq!(take(&shelf), Poll::Pending);
        assert_eq!(shelf.position(0), None);
        let (place, start) = shelf.assignment(0);
        assert_eq!((place.generation, start), (1, StartAt::Offset(Offset(50))));
        shelf.put(place, batch(0, 50));
        assert_eq!(take(&shelf), Poll::Ready(Some((0, 50))));
    }

    #[test]
    fn the_end_comes_when_every_partition_has_ended() {
        let (shelf, places) = shelf(2, 1 << 20);
        shelf.put(places[0], Item::Ended);
        assert!(take(&shelf).is_ready());
        assert_eq!(take(&shelf), Poll::Pending);
        shelf.put(places[1], batch(1, 0));
        shelf.put(places[1], Item::Failed(Error::BufferFull));
        assert_eq!(take(&shelf), Poll::Ready(Some((1, 0))));
        assert_eq!(take(&shelf), Poll::Ready(Some((1, u64::MAX))));
        assert_eq!(take(&shelf), Poll::Ready(None));
        shelf.seek(1, StartAt::Start);
        assert_eq!(take(&shelf), Poll::Pending);
    }

    #[tokio::test]
    async fn caught_up_means_that_the_application_has_it_all() {
        let (shelf, places) = shelf(1, 1 << 20);
        shelf.begun(places[0], Offset(5));
        assert!(!shelf.is_caught_up());
        shelf.put(places[0], batch(0, 5));
        shelf.caught_up_to(places[0], Offset(6));
        assert!(!shelf.is_caught_up());
        assert!(take(&shelf).is_ready());
        assert!(!shelf.is_caught_up());
        shelf.advance(places[0], Offset(6));
        shelf.progressed();
        shelf.caught_up().await;
        shelf.put(places[0], batch(0, 6));
        assert!(!shelf.is_caught_up());
    }
}
