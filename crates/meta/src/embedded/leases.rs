//! When leases end. Only the times: which keys a lease holds is in the entries.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::LeaseId;

/// The running leases with their deadlines on the injected clock.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeMap<LeaseId, Timer>>);

#[derive(Clone, Copy, Debug)]
struct Timer {
    ttl: Duration,
    deadline: Instant,
    /// It has run out; only its removal is still due.
    ended: bool,
}

/// How long to wait before an end that could not be written down is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Leases {
    /// Leases of an earlier process, each with its full time before it.
    pub(super) fn restore(leases: &BTreeMap<LeaseId, Duration>, now: Instant) -> Self {
        let timer =
            |(id, ttl): (&LeaseId, &Duration)| (*id, Timer { ttl: *ttl, deadline: now + *ttl, ended: false });
        Self(Mutex::new(leases.iter().map(timer).collect()))
    }

    pub(super) fn begin(&self, lease: LeaseId, ttl: Duration, now: Instant) {
        self.0.lock().insert(lease, Timer { ttl, deadline: now + ttl, ended: false });
    }

    /// Postpones a lease's end, unless it has come already.
    pub(super) fn renew(&self, lease: LeaseId, now: Instant) -> Option<Duration> {
        let mut timers = self.0.lock();
        let timer = timers.get_mut(&lease).filter(|timer| timer.deadline > now && !timer.ended)?;
        timer.deadline = now + timer.ttl;
        Some(timer.ttl)
    }

    pub(super) fn end(&self, lease: LeaseId) {
        self.0.lock().remove(&lease);
    }

    /// Removes and names the leases whose end has come; nobody can renew one of them after this.
    pub(super) fn take_ended(&self, now: Instant) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        self.0.lock().retain(|lease, timer| {
            let running = timer.deadline > now;
            if !running {
                ended.push(*lease);
            }
            running
        });
        ended
    }

    /// Takes back leases whose end could not be written down, to be taken again soon.
    pub(super) fn put_back(&self, ended: &[LeaseId], now: Instant) {
        let timer = Timer { ttl: Duration::ZERO, deadline: now + RETRY, ended: true };
        self.0.lock().extend(ended.iter().map(|lease| (*lease, timer)));
    }

    /// How long until the next one ends, if all stays as it is.
    pub(super) fn next_end(&self, now: Instant) -> Option<Duration> {
        self.0.lock().values().map(|timer| timer.deadline.saturating_duration_since(now)).min()
    }
}
