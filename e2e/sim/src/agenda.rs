//! Virtual time, and what will happen when. Two events of one instant happen in the order they were set.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Virtual time, and spans of it, in microseconds.
pub type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;

/// What is to happen, ordered by time.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    now: Micros,
    set: u64,
    heap: BinaryHeap<Item<E>>,
}

#[derive(Debug)]
struct Item<E> {
    at: Micros,
    number: u64,
    /// Events are large, and a heap moves its items about.
    event: Box<E>,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { now: 0, set: 0, heap: BinaryHeap::new() }
    }

    pub(crate) fn now(&self) -> Micros {
        self.now
    }

    pub(crate) fn at(&mut self, at: Micros, event: E) {
        self.set += 1;
        self.heap.push(Item { at: at.max(self.now), number: self.set, event: Box::new(event) });
    }

    pub(crate) fn after(&mut self, span: Micros, event: E) {
        self.at(self.now + span, event);
    }

    /// The next event; time moves on to it.
    pub(crate) fn next(&mut self) -> Option<E> {
        let item = self.heap.pop()?;
        self.now = item.at;
        Some(*item.event)
    }
}

// The heap gives the greatest first: that is the earliest.
impl<E> Ord for Item<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Item<E> {}
