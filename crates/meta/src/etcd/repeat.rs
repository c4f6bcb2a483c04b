//! Making a call: within its time, at the member that answers.

use std::future::Future;
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::connect::Link;
use super::fault::Fault;
use crate::MetaError;

/// How long a member may take before another one is asked. Doubles with each attempt, as a slow etcd is
/// not made faster by asking it more often.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pauses between attempts, doubling from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Shared {
    /// Makes a call that may be made twice, until it succeeds or its time is over.
    pub(super) async fn repeat<T, F, R>(&self, call: F) -> Result<T, Fault>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.timeout;
        let (mut patience, mut pause) = (self.patience(), PAUSE_MIN);
        loop {
            let fault = match self.attempt(deadline, patience, &call).await {
                Err(fault) if fault.may_pass() => fault,
                answer => return answer,
            };
            if !rest(deadline, pause).await {
                return Err(fault);
            }
            (patience, pause) = (patience * 2, (pause * 2).min(PAUSE_MAX));
        }
    }

    /// Makes a call that must not be made twice: again only when it certainly had no effect.
    pub(super) async fn once<T, F, R>(&self, call: F) -> Result<T, Fault>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut pause = PAUSE_MIN;
        loop {
            let fault = match self.attempt(deadline, self.timeout, &call).await {
                Err(fault @ (Fault::Busy(_) | Fault::NotDone(_))) => fault,
                answer => return answer,
            };
            if !rest(deadline, pause).await {
                return Err(fault);
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt<T, F, R>(&self, deadline: Instant, patience: Duration, call: &F) -> Result<T, Fault>
    where
        F: Fn(Client) -> R,
        R: Future<Output = Result<T, Error>>,
    {
        let connecting = timeout_at(deadline, self.connections.current()).await;
        let link = connecting.unwrap_or_else(|_| Err(Fault::NotDone(self.connections.silence())))?;
        let until = deadline.min(Instant::now() + patience);
        let fault = match timeout_at(until, call(link.client())).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => self.reconsider(Fault::of(error)),
            Err(_) => Fault::Lost(format!("{} did not answer in time", link.member())),
        };
        if fault.blames_connection() {
            self.give_up(&link, &fault);
        }
        Err(fault)
    }

    /// Where there is no other member, a slow one is better than a new connection to it.
    fn patience(&self) -> Duration {
        if self.connections.has_choice() { PATIENCE } else { PATIENCE.max(self.timeout / 2) }
    }

    /// A member that turned us away on a connection that worked may have been given other certificates,
    /// or a user list, since: connecting anew finds out.
    fn reconsider(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Refused(MetaError::Untrusted(reason)) => Fault::NotDone(reason),
            Fault::Refused(MetaError::Unauthenticated(reason)) if self.connections.has_user() => {
                Fault::NotDone(reason)
            }
            fault => fault,
        }
    }

    /// Whoever comes next connects anew, to another member if there is one.
    pub(super) fn give_up(&self, link: &Link, fault: &Fault) {
        if self.connections.give_up(link) {
            self.counters.lost_connection();
            tracing::info!(member = link.member(), ?fault, "another connection to etcd is made");
        }
    }
}

/// Pauses, unless there is no time left after it.
async fn rest(deadline: Instant, pause: Duration) -> bool {
    if Instant::now() + pause >= deadline {
        return false;
    }
    back_off(pause).await;
    true
}

pub(super) async fn back_off(pause: Duration) {
    let _ = timeout(pause, std::future::pending::<()>()).await;
}
