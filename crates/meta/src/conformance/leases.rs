//! Claims on leases.

use super::{Harness, commit, put, soon, text, txn, value};
use crate::{Event, LeaseId, MetaError, Op, Revision};

fn leased(key: &str, lease: LeaseId) -> Op {
    let Op::Put { key, value, .. } = put(key, "leased") else { unreachable!() };
    Op::Put { key, value, lease: Some(lease) }
}

/// Lets a lease run out and waits until its key is gone.
async fn wait_until_gone(harness: &dyn Harness, key: &str, from: Revision) {
    let meta = harness.meta();
    let mut watch = meta.watch(key, from).await.unwrap();
    harness.advance(harness.ttl()).await;
    soon("the end of the lease", async {
        loop {
            let changes = watch.next().await.unwrap();
            if changes.events.iter().any(|event| matches!(event, Event::Delete { .. })) {
                return;
            }
        }
    })
    .await;
}

async fn grant(harness: &dyn Harness) -> LeaseId {
    let lease = harness.meta().grant(harness.ttl()).await.unwrap();
    assert!(lease.ttl >= harness.ttl());
    lease.id
}

pub async fn keys_vanish_with_their_lease(harness: &dyn Harness) {
    let meta = harness.meta();
    let lease = grant(harness).await;
    let revision =
        commit(&*meta, [leased("expire/a", lease), leased("expire/b", lease), put("expire/c", "stays")])
            .await;
    assert_eq!(meta.get("expire/a").await.unwrap().unwrap().lease, Some(lease));
    wait_until_gone(harness, "expire/b", revision).await;
    let listing = meta.list("expire/").await.unwrap();
    assert_eq!(listing.entries.iter().map(text).collect::<Vec<_>>(), ["stays"]);
}

pub async fn a_lease_that_is_kept_alive_lives_on(harness: &dyn Harness) {
    let meta = harness.meta();
    let lease = grant(harness).await;
    let revision = commit(&*meta, [leased("alive/a", lease)]).await;
    for _ in 0..3 {
        harness.advance(harness.ttl() / 2).await;
        let kept = meta.keep_alive(lease).await.unwrap();
        assert_eq!(kept.id, lease);
        assert!(kept.ttl >= harness.ttl());
    }
    assert!(meta.get("alive/a").await.unwrap().is_some());
    wait_until_gone(harness, "alive/a", revision).await;
}

pub async fn a_lease_is_valid_no_longer_than_from_its_request_on(harness: &dyn Harness) {
    let meta = harness.meta();
    let clock = meta.clock();
    let before = clock.now();
    let granted = meta.grant(harness.ttl()).await.unwrap();
    assert!(granted.valid_until >= before + granted.ttl);
    assert!(granted.valid_until <= clock.now() + granted.ttl);
    harness.advance(harness.ttl() / 4).await;
    let before = clock.now();
    let kept = meta.keep_alive(granted.id).await.unwrap();
    assert_eq!((kept.id, kept.ttl), (granted.id, granted.ttl));
    assert!(kept.valid_until > granted.valid_until && kept.valid_until >= before + kept.ttl);
    assert!(kept.valid_until <= clock.now() + kept.ttl);
    meta.revoke(granted.id).await.unwrap();
}

pub async fn a_lease_that_has_ended_cannot_be_used(harness: &dyn Harness) {
    let meta = harness.meta();
    let lease = grant(harness).await;
    let revision = commit(&*meta, [leased("ended/a", lease)]).await;
    wait_until_gone(harness, "ended/a", revision).await;
    let ended = Err(MetaError::LeaseNotFound(lease));
    assert_eq!(meta.keep_alive(lease).await.map(drop), ended);
    let attempt = txn([put("ended/b", "x"), leased("ended/a", lease)]);
    assert_eq!(meta.txn(attempt).await.map(|_| ()), ended);
    assert!(meta.list("ended/").await.unwrap().entries.is_empty());
    assert_eq!(meta.revoke(lease).await, Ok(()));
    assert_ne!(grant(harness).await, lease);
}

pub async fn revoking_a_lease_removes_its_keys_at_one_revision(harness: &dyn Harness) {
    let meta = harness.meta();
    let lease = grant(harness).await;
    let revision = commit(&*meta, [leased("revoke/a", lease), leased("revoke/b", lease)]).await;
    let mut watch = meta.watch("revoke/", revision.next()).await.unwrap();
    meta.revoke(lease).await.unwrap();
    assert!(meta.list("revoke/").await.unwrap().entries.is_empty());
    let changes = soon("the deletions", watch.next()).await.unwrap();
    assert_eq!(changes.events.len(), 2);
    assert_eq!(meta.keep_alive(lease).await.map(drop), Err(MetaError::LeaseNotFound(lease)));
}

pub async fn a_key_put_without_its_lease_is_freed_from_it(harness: &dyn Harness) {
    let meta = harness.meta();
    let (first, second) = (grant(harness).await, grant(harness).await);
    commit(&*meta, [leased("free/a", first), leased("free/b", first)]).await;
    commit(&*meta, [put("free/a", "free"), leased("free/b", second)]).await;
    meta.revoke(first).await.unwrap();
    assert_eq!(value(&*meta, "free/a").await.as_deref(), Some("free"));
    assert_eq!(meta.get("free/b").await.unwrap().unwrap().lease, Some(second));
    meta.revoke(second).await.unwrap();
    assert_eq!(meta.get("free/b").await.unwrap(), None);
}
