//! Claims on elections.

use bytes::Bytes;

use super::{Harness, put, soon, value};
use crate::election::{Leadership, campaign, leader, observe, resign};
use crate::{LeaseId, Meta, Txn, TxnOutcome};

async fn grant(harness: &dyn Harness) -> LeaseId {
    harness.meta().grant(harness.ttl()).await.unwrap().id
}

async fn stand(meta: &dyn Meta, election: &str, lease: LeaseId, name: &'static str) -> Leadership {
    soon("the election", campaign(meta, election, lease, Bytes::from_static(name.as_bytes()))).await.unwrap()
}

async fn write_as(meta: &dyn Meta, leadership: &Leadership, key: &str) -> TxnOutcome {
    meta.txn(Txn::new().when(leadership.compare()).op(put(key, "led"))).await.unwrap()
}

pub async fn the_first_candidate_leads_and_hands_over_when_it_resigns(harness: &dyn Harness) {
    let meta = harness.meta();
    assert_eq!(leader(&*meta, "resign").await.unwrap(), None);
    let (first_lease, second_lease) = (grant(harness).await, grant(harness).await);
    let first = stand(&*meta, "resign", first_lease, "first").await;
    // Standing again under the same lease is the same leadership.
    assert_eq!(stand(&*meta, "resign", first_lease, "first").await, first);

    let resigning = async {
        let seen = leader(&*meta, "resign").await.unwrap().unwrap();
        assert_eq!((seen.token, &*seen.value), (first.token(), &b"first"[..]));
        assert!(matches!(write_as(&*meta, &first, "led/resign").await, TxnOutcome::Committed(_)));
        resign(&*meta, &first).await.unwrap();
    };
    let (second, ()) = futures::join!(stand(&*meta, "resign", second_lease, "second"), resigning);
    assert!(second.token() > first.token());
    assert!(matches!(write_as(&*meta, &first, "led/late").await, TxnOutcome::Conflict(_)));
    assert_eq!(value(&*meta, "led/late").await, None);
    resign(&*meta, &first).await.unwrap();
    assert_eq!(leader(&*meta, "resign").await.unwrap().unwrap().lease, Some(second_lease));
}

pub async fn a_dead_leader_is_followed_and_fenced(harness: &dyn Harness) {
    let meta = harness.meta();
    let first_lease = grant(harness).await;
    let dead = stand(&*meta, "dead", first_lease, "dead").await;
    harness.advance(harness.ttl()).await;
    let second_lease = grant(harness).await;
    let heir = stand(&*meta, "dead", second_lease, "heir").await;
    assert!(heir.token() > dead.token());
    assert!(matches!(write_as(&*meta, &dead, "dead/x").await, TxnOutcome::Conflict(_)));
    assert!(matches!(write_as(&*meta, &heir, "dead/x").await, TxnOutcome::Committed(_)));
}

pub async fn an_observer_sees_each_leader(harness: &dyn Harness) {
    let meta = harness.meta();
    let mut observer = observe(&*meta, "seen");
    assert_eq!(soon("the start", observer.next()).await.unwrap(), None);
    let lease = grant(harness).await;
    let leadership = stand(&*meta, "seen", lease, "one").await;
    let seen = soon("the leader", observer.next()).await.unwrap().unwrap();
    assert_eq!((seen.token, &*seen.value), (leadership.token(), &b"one"[..]));
    harness.compact().await;
    resign(&*meta, &leadership).await.unwrap();
    assert_eq!(soon("the departure", observer.next()).await.unwrap(), None);
}
