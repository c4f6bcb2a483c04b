//! Keeping a lease alive, and knowing in time when it is not.
//!
//! The hazard: whoever believes in a lease that has run out does what another does already. So the holder
//! does not wait to be told. It counts from before each request for renewal was sent, on its own monotonic
//! clock, and stops believing a margin before the store could possibly end the lease. A suspended machine
//! can stop that clock too; epochs, not leases, are what protects the data.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::{Lease, LeaseId, MetaError, SharedMeta, SharedMonotonic};

/// The part of a lease's time that its holder does not use: for clocks that run at unequal speed, and for
/// what has to be stopped.
const MARGIN_DIVISOR: u32 = 10;

/// A lease is renewed this many times within its time to live when all goes well.
const RENEWALS: u32 = 3;

/// After a failed renewal the next one follows sooner: this many would fit into the time to live.
const ATTEMPTS: u32 = 20;

/// Grants a lease, for a keeper and for those who rely on it.
pub async fn hold(meta: SharedMeta, ttl: Duration) -> Result<(LeaseKeeper, HeldLease), MetaError> {
    let lease = meta.grant(ttl).await?;
    let margin = lease.ttl / MARGIN_DIVISOR;
    let clock = meta.clock();
    let (state, seen) = watch::channel(State::Until(lease.valid_until));
    let held = HeldLease { id: lease.id, ttl: lease.ttl, margin, clock, state: seen };
    Ok((LeaseKeeper { meta, lease, state, held: held.clone() }, held))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Until(Instant),
    Ended,
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The store said so: it was revoked, or ran out there.
    Ended,
    /// It could not be renewed in time. The store may end it at any moment, and may not have yet.
    NotRenewed,
}

/// Renews a lease, as long as it is [run](Self::run). Dropping it leaves the lease to run out.
#[derive(Debug)]
pub struct LeaseKeeper {
    meta: SharedMeta,
    lease: Lease,
    state: watch::Sender<State>,
    held: HeldLease,
}

impl LeaseKeeper {
    /// Renews the lease until it is over. A lease that was over once is never taken up again.
    pub async fn run(self) -> LeaseEnd {
        let mut pause = self.lease.ttl / RENEWALS;
        loop {
            if timeout(pause, self.held.lost()).await.is_ok() {
                return self.over();
            }
            // The holder's time goes on while the store is being asked.
            let renewed = tokio::select! {
                renewed = self.meta.keep_alive(self.lease.id) => renewed,
                () = self.held.lost() => return self.over(),
            };
            pause = self.lease.ttl / RENEWALS;
            match renewed {
                Ok(lease) => self.state.send_modify(|state| self.held.postpone(state, lease.valid_until)),
                Err(MetaError::LeaseNotFound(_)) => {
                    self.state.send_replace(State::Ended);
                    return LeaseEnd::Ended;
                }
                Err(error) => {
                    tracing::warn!(lease = %self.lease.id, %error, "the lease could not be renewed yet");
                    pause = self.lease.ttl / ATTEMPTS;
                }
            }
        }
    }

    fn over(&self) -> LeaseEnd {
        self.state.send_replace(State::Ended);
        LeaseEnd::NotRenewed
    }
}

/// A lease as its holder sees it.
#[derive(Clone, Debug)]
pub struct HeldLease {
    id: LeaseId,
    ttl: Duration,
    margin: Duration,
    clock: SharedMonotonic,
    state: watch::Receiver<State>,
}

impl HeldLease {
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// As granted, which may be longer than asked for.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Until when, on [its clock](Self::clock), the holder may act on it without another renewal; `None`
    /// when it is over. Lies a margin before the earliest moment at which the store could end it.
    pub fn valid_until(&self) -> Option<Instant> {
        self.usable_until(&self.state.borrow())
    }

    fn usable_until(&self, state: &State) -> Option<Instant> {
        match state {
            State::Until(until) => until.checked_sub(self.margin).filter(|until| self.clock.now() < *until),
            State::Ended => None,
        }
    }

    /// A renewal that comes when the holder may have given the lease up already ends it: whoever saw that it
    /// was over would otherwise wait for another one while this one goes on.
    fn postpone(&self, state: &mut State, until: Instant) {
        if self.usable_until(state).is_none() {
            *state = State::Ended;
        } else if let State::Until(current) = state {
            *current = until.max(*current);
        }
    }

    /// Whether the holder may act on it at this moment.
    pub fn is_valid(&self) -> bool {
        self.valid_until().is_some()
    }

    pub fn clock(&self) -> &SharedMonotonic {
        &self.clock
    }

    /// Resolves when the lease is over, and stays so.
    pub async fn lost(&self) {
        let mut state = self.state.clone();
        loop {
            state.mark_unchanged();
            let Some(until) = self.valid_until() else { return };
            let left = until.saturating_duration_since(self.clock.now());
            match timeout(left, state.changed()).await {
                // Postponed, ended, or its time has come.
                Ok(Ok(())) | Err(_) => {}
                // Nobody renews it any more: only time can pass.
                Ok(Err(_)) => out_of_time(self).await,
            }
        }
    }
}

async fn out_of_time(held: &HeldLease) {
    while let Some(until) = held.valid_until() {
        let left = until.saturating_duration_since(held.clock.now());
        let _ = timeout(left, std::future::pending::<()>()).await;
    }
}

#[cfg(test)]
mod tests;
