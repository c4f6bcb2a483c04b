//! What `send` returns: a claim on the outcome of one record.
//!
//! All records of a batch share one state, so that a ticket costs a reference count and no allocation.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tidelog_model::{Offset, PartitionId, TimestampMs};

use super::record::Delivery;
use crate::Error;

/// What the server said of a batch that it stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) base_offset: Offset,
    pub(super) append_time: Option<TimestampMs>,
}

pub(super) type Outcome = Result<Acked, Error>;

/// The outcome of one batch, once there is one, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct BatchState {
    outcome: OnceLock<Outcome>,
    wakers: Mutex<Vec<Option<Waker>>>,
}

impl BatchState {
    /// Settles the batch. What comes later changes nothing.
    pub(super) fn settle(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_err() {
            return;
        }
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Waits in the place `slot`, which the first call chooses.
    fn poll(&self, slot: &mut Option<usize>, cx: &mut Context<'_>) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut wakers = self.wakers.lock();
        // Settling sets the outcome first and takes the wakers then: what it set before this lock was
        // taken is seen here, and what it sets later finds the waker.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let place = *slot.get_or_insert(wakers.len());
        if place == wakers.len() {
            wakers.push(None);
        }
        if !wakers[place].as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            wakers[place] = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn leave(&self, slot: Option<usize>) {
        if let Some(place) = slot
            && let Some(waker) = self.wakers.lock().get_mut(place)
        {
            *waker = None;
        }
    }
}

/// Resolves once the record is durable, or once it is known that it is not, or that this cannot be
/// known. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a record is not durable before its ticket resolves"]
pub struct Ticket {
    state: Arc<BatchState>,
    partition: PartitionId,
    /// The record's place in its batch.
    index: u32,
    slot: Option<usize>,
}

impl Ticket {
    pub(super) fn new(state: Arc<BatchState>, partition: PartitionId, index: u32) -> Self {
        Self { state, partition, index, slot: None }
    }

    /// The partition that the record was put into.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    /// The outcome, if it is there.
    pub fn try_get(&self) -> Option<Result<Delivery, Error>> {
        self.state.outcome.get().map(|outcome| self.delivery(outcome))
    }

    fn delivery(&self, outcome: &Outcome) -> Result<Delivery, Error> {
        match outcome {
            Ok(acked) => Ok(Delivery {
                partition: self.partition,
                offset: acked.base_offset + u64::from(self.index),
                append_time: acked.append_time,
            }),
            Err(error) => Err(error.clone()),
        }
    }
}

impl Future for Ticket {
    type Output = Result<Delivery, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, slot, .. } = &mut *self;
        match state.poll(slot, cx) {
            Poll::Ready(_) => {}
            Poll::Pending => return Poll::Pending,
        }
        self.slot = None;
        self.try_get().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.state.leave(self.slot);
    }
}

/// Waits for a whole batch.
pub(super) async fn settled(state: &BatchState) -> Result<(), Error> {
    struct Place<'a>(&'a BatchState, Option<usize>);
    impl Drop for Place<'_> {
        fn drop(&mut self) {
            self.0.leave(self.1);
        }
    }
    let mut place = Place(state, None);
    std::future::poll_fn(|cx| {
        let Place(state, slot) = &mut place;
        state.poll(slot, cx).map(|outcome| outcome.clone().map(drop))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACKED: Acked = Acked { base_offset: Offset(100), append_time: None };

    fn tickets(count: u32) -> (Arc<BatchState>, Vec<Ticket>) {
        let state = Arc::<BatchState>::default();
        let tickets = (0..count).map(|i| Ticket::new(Arc::clone(&state), PartitionId(7), i)).collect();
        (state, tickets)
    }

    #[tokio::test]
    async fn every_ticket_of_a_batch_gets_its_own_offset() {
        let (state, tickets) = tickets(3);
        assert!(tickets[0].try_get().is_none());
        let waiting = tokio::spawn(futures::future::join_all(tickets));
        tokio::task::yield_now().await;
        state.settle(Ok(ACKED));
        let offsets: Vec<_> = waiting.await.unwrap().into_iter().map(|d| d.unwrap().offset.0).collect();
        assert_eq!(offsets, [100, 101, 102]);
    }

    #[tokio::test]
    async fn a_ticket_may_be_dropped_while_others_wait() {
        let (state, mut tickets) = tickets(2);
        let mut dropped = tickets.pop().unwrap();
        assert!(futures::poll!(&mut dropped).is_pending());
        let kept = tokio::spawn(tickets.pop().unwrap());
        tokio::task::yield_now().await;
        drop(dropped);
        state.settle(Err(Error::Closed("producer")));
        assert!(matches!(kept.await.unwrap(), Err(Error::Closed(_))));
        assert!(settled(&state).await.is_err());
    }

    #[tokio::test]
    async fn the_first_outcome_stands() {
        let (state, mut tickets) = tickets(1);
        let mut ticket = tickets.pop().unwrap();
        assert!(futures::poll!(&mut ticket).is_pending());
        assert!(futures::poll!(&mut ticket).is_pending());
        state.settle(Ok(ACKED));
        state.settle(Err(Error::Closed("producer")));
        assert_eq!(ticket.await.unwrap().offset, Offset(100));
    }
}
