//! The handle of a network proxy: what happens to what travels which way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Dice;

/// Which way something travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// What happens to one way's traffic. The default lets everything through at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub delay: Duration,
    /// Up to so much more, by chance.
    pub jitter: Duration,
    /// Datagrams that vanish. TCP repeats what is lost: there, so many pieces come
    /// [`RETRANSMIT`] later.
    pub loss_per_mille: u16,
    /// Datagrams that come `late_by` later than their neighbours. TCP keeps its order.
    pub late_per_mille: u16,
    pub late_by: Duration,
    /// Nothing passes. Datagrams vanish; TCP's bytes wait, as they would in the sender's kernel.
    pub cut: bool,
}

/// How long a lost piece of a TCP stream takes to come again.
pub const RETRANSMIT: Duration = Duration::from_millis(200);

impl Conditions {
    pub(super) fn due(&self, dice: &mut Dice) -> Instant {
        let jitter = Duration::from_micros(dice.below(self.jitter.as_micros() as u64 + 1));
        Instant::now() + self.delay + jitter
    }
}

/// What passed a proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Pieces of streams and datagrams that were passed on.
    pub passed: u64,
    /// Datagrams that vanished.
    pub dropped: u64,
    /// Pieces of streams that wait, or waited, for a cut to be healed.
    pub held: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) passed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) held: AtomicU64,
}

/// Steers a proxy. Clones steer the same one.
#[derive(Clone, Debug)]
pub struct Link {
    to_server: watch::Sender<Conditions>,
    to_client: watch::Sender<Conditions>,
    breaks: watch::Sender<u64>,
    pub(super) counters: Arc<Counters>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            to_server: watch::Sender::new(Conditions::default()),
            to_client: watch::Sender::new(Conditions::default()),
            breaks: watch::Sender::new(0),
            counters: Arc::default(),
        }
    }

    /// Sets what happens to one way's traffic from now on.
    pub fn set(&self, way: Way, conditions: Conditions) {
        self.way(way).send_replace(conditions);
    }

    /// Sets both ways.
    pub fn set_both(&self, conditions: Conditions) {
        self.set(Way::ToServer, conditions);
        self.set(Way::ToClient, conditions);
    }

    /// Nothing passes either way.
    pub fn cut(&self) {
        self.cut_way(Way::ToServer);
        self.cut_way(Way::ToClient);
    }

    /// Nothing passes this way; what comes the other way does.
    pub fn cut_way(&self, way: Way) {
        self.way(way).send_modify(|conditions| conditions.cut = true);
    }

    /// Everything passes at once again.
    pub fn heal(&self) {
        self.set_both(Conditions::default());
    }

    /// Ends every connection that is open, and forgets who sent datagrams from where.
    pub fn break_connections(&self) {
        self.breaks.send_modify(|count| *count += 1);
    }

    pub fn counts(&self) -> LinkCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { passed, dropped, held } = &*self.counters;
        LinkCounts { passed: read(passed), dropped: read(dropped), held: read(held) }
    }

    pub(super) fn conditions(&self, way: Way) -> Conditions {
        *self.way(way).borrow()
    }

    /// Waits while the way is cut.
    pub(super) async fn open(&self, way: Way) {
        // The sender is in `self`, so the wait ends only when the way is open.
        let _ = self.way(way).subscribe().wait_for(|conditions| !conditions.cut).await;
    }

    /// Waits for the next [`Link::break_connections`].
    pub(super) async fn broken(&self) {
        let _ = self.breaks.subscribe().changed().await;
    }

    fn way(&self, way: Way) -> &watch::Sender<Conditions> {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
