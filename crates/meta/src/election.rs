//! Elections on any [`Meta`], as etcd's own clients hold them.
//!
//! Whoever stands for election puts a key below the election's name, bound to its lease; the key that
//! was created first leads, and its create-revision is the fencing token: a later leader's is larger.
//! A leader's transactions compare it ([`Leadership::compare`]), so that one who was deposed without
//! noticing changes nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidelog_model::NodeId;

use crate::{
    Compare, Entry, Event, LeaseId, Meta, MetaError, Op, Revision, Txn, TxnOutcome, Watch, WatchError,
};

/// The election of the cluster's controller. Its value is an [`Incumbent`].
pub const CONTROLLER: &str = "controller";

/// Who is controller, as the election's key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incumbent {
    /// The node whose store was elected, and which start of it.
    pub node: NodeId,
    pub boot: u64,
}

impl Incumbent {
    /// What stands in the election's key; `None` when it cannot be read.
    pub fn of(leader: &Leader) -> Option<Self> {
        serde_json::from_slice(&leader.value).ok()
    }

    pub fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("two numbers are JSON"))
    }
}

/// The controller at this moment, if there is one.
pub async fn controller(meta: &dyn Meta) -> Result<Option<Incumbent>, MetaError> {
    Ok(leader(meta, CONTROLLER).await?.as_ref().and_then(Incumbent::of))
}

/// A won election, for as long as the lease lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    key: String,
    /// Larger than that of every earlier leader of this election.
    token: Revision,
}

impl Leadership {
    /// What the leader's transactions compare: it fails once the leadership has ended.
    pub fn compare(&self) -> Compare {
        Compare::CreateRevision { key: self.key.clone(), revision: self.token }
    }

    pub fn token(&self) -> Revision {
        self.token
    }
}

/// A current leader, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub token: Revision,
    pub lease: Option<LeaseId>,
    pub value: Bytes,
}

fn prefix(name: &str) -> String {
    format!("election/{name}/")
}

/// Stands for election and waits until it is won. Cancelled or failed, the candidacy may stay until its
/// lease ends; calling again with the same lease goes on with it.
pub async fn campaign(
    meta: &dyn Meta,
    name: &str,
    lease: LeaseId,
    value: Bytes,
) -> Result<Leadership, MetaError> {
    let key = format!("{}{lease}", prefix(name));
    let put = Op::Put { key: key.clone(), value, lease: Some(lease) };
    // A conflict means that this lease stands already: a campaign that was cancelled and is resumed.
    let _ = meta.txn(Txn::new().when(Compare::Absent { key: key.clone() }).op(put)).await?;
    loop {
        let listing = meta.list(&prefix(name)).await?;
        let Some(own) = listing.entries.iter().find(|entry| *entry.key == *key) else {
            return Err(MetaError::LeaseNotFound(lease));
        };
        let token = own.create_revision;
        if listing.entries.iter().all(|entry| entry.create_revision >= token) {
            return Ok(Leadership { key, token });
        }
        wait_for_departure(meta, name, listing.revision).await?;
    }
}

/// The leader at this moment, if there is one.
pub async fn leader(meta: &dyn Meta, name: &str) -> Result<Option<Leader>, MetaError> {
    Ok(leader_of(&meta.list(&prefix(name)).await?.entries))
}

fn leader_of(candidates: &[Entry]) -> Option<Leader> {
    let first = candidates.iter().min_by_key(|entry| entry.create_revision)?;
    Some(Leader { token: first.create_revision, lease: first.lease, value: first.value.clone() })
}

/// Gives up a leadership or a candidacy. Doing it twice, or after the lease has ended, succeeds.
pub async fn resign(meta: &dyn Meta, leadership: &Leadership) -> Result<(), MetaError> {
    let delete = Op::Delete { key: leadership.key.clone() };
    match meta.txn(Txn::new().when(leadership.compare()).op(delete)).await? {
        TxnOutcome::Committed(_) | TxnOutcome::Conflict(_) => Ok(()),
    }
}

/// Ends another's leadership or candidacy, of whom the caller knows that it is no more. If the caller is
/// wrong, the one deposed changes nothing any more, and stands again. Nothing happens to anyone who was
/// elected since.
pub async fn depose(meta: &dyn Meta, name: &str, leader: &Leader) -> Result<(), MetaError> {
    let Some(lease) = leader.lease else { return Ok(()) };
    let key = format!("{}{lease}", prefix(name));
    resign(meta, &Leadership { key, token: leader.token }).await
}

/// Follows who leads.
pub fn observe<'a>(meta: &'a dyn Meta, name: &str) -> Observer<'a> {
    Observer { meta, prefix: prefix(name), watch: None, delivered: Delivered::Nothing }
}

/// Delivers the leader, and each change of it.
#[derive(Debug)]
pub struct Observer<'a> {
    meta: &'a dyn Meta,
    prefix: String,
    watch: Option<Watch>,
    delivered: Delivered,
}

/// What the caller of an observer knows.
#[derive(Debug, PartialEq, Eq)]
enum Delivered {
    Nothing,
    Leader(Option<Leader>),
}

impl Observer<'_> {
    /// The current leader the first time, then the next one that differs; `None` while nobody leads.
    /// Leaders that come and go between two calls may be passed over. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Result<Option<Leader>, MetaError> {
        loop {
            if let Some(watch) = &mut self.watch {
                match watch.next().await {
                    Ok(_) => {}
                    Err(WatchError::Closed) => return Err(MetaError::Closed),
                    Err(WatchError::Failed(error)) => {
                        self.watch = None;
                        return Err(error);
                    }
                    Err(WatchError::Compacted { .. }) => self.watch = None,
                }
            }
            let listing = self.meta.list(&self.prefix).await?;
            if self.watch.is_none() {
                self.watch = Some(self.meta.watch(&self.prefix, listing.revision.next()).await?);
            }
            let leader = Delivered::Leader(leader_of(&listing.entries));
            if self.delivered != leader {
                self.delivered = leader;
                return Ok(leader_of(&listing.entries));
            }
        }
    }
}

async fn wait_for_departure(meta: &dyn Meta, name: &str, seen: Revision) -> Result<(), MetaError> {
    let mut watch = meta.watch(&prefix(name), seen.next()).await?;
    loop {
        match watch.next().await {
            Ok(changes) if changes.events.iter().any(|event| matches!(event, Event::Delete { .. })) => {
                return Ok(());
            }
            Ok(_) => {}
            Err(WatchError::Closed) => return Err(MetaError::Closed),
            // The caller lists again anyway.
            Err(WatchError::Compacted { .. }) => return Ok(()),
            Err(WatchError::Failed(error)) => return Err(error),
        }
    }
}
