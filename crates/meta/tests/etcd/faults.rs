//! Members that die, hang, or are all gone.

use std::time::{Duration, Instant};

use tidelog_meta::lease::hold;
use tidelog_meta::settle::settle;
use tidelog_meta::{Compare, LeaseEnd, Meta, MetaError, Txn, TxnOutcome, election};

use crate::support::{commit, put, scene, soon, text, txn};

/// Adds one to a number, whatever happens on the way.
async fn increment(meta: &dyn Meta, key: &str) {
    loop {
        let entry = match meta.get(key).await {
            Ok(entry) => entry,
            Err(error) => panic!("a read failed although etcd has a majority: {error}"),
        };
        let count: u32 =
            entry.as_ref().map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap());
        let unchanged = match &entry {
            Some(entry) => Compare::ModRevision { key: key.to_owned(), revision: entry.mod_revision },
            None => Compare::Absent { key: key.to_owned() },
        };
        let attempt = Txn::new().when(unchanged).op(put(key, &(count + 1).to_string()));
        match settle(meta, &attempt).await {
            Ok(TxnOutcome::Committed(_)) => return,
            Ok(TxnOutcome::Conflict(_)) => {}
            Err(error) => panic!("not settled although etcd has a majority: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_on_when_the_leader_of_three_members_dies_or_hangs() {
    let mut scene = scene(3);
    let meta = scene.open("a").await;
    let (keeper, held) = hold(meta.clone(), Duration::from_secs(8)).await.unwrap();
    let keeping = tokio::spawn(keeper.run());
    let mut expected = 0;
    for round in 0..2 {
        let leader = soon("a leader", async { scene.server.leader() }).await.unwrap();
        if round % 2 == 0 {
            scene.server.kill(leader);
        } else {
            scene.server.pause(leader, true);
        }
        for _ in 0..5 {
            soon("an increment", increment(&*meta, "count")).await;
            expected += 1;
        }
        if round % 2 == 0 {
            scene.server.restart();
        } else {
            scene.server.pause(leader, false);
            scene.server.wait_until_ready();
        }
    }
    assert_eq!(text(&*meta, "count").await, Some(expected.to_string()));
    assert!(held.is_valid() && !keeping.is_finished(), "the lease survived all of it");
    assert!(meta.counts().lost_connections > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_knows_before_the_lease_can_end_while_etcd_hangs() {
    let scene = scene(1);
    let meta = scene.open_hasty("a").await;
    let ttl = Duration::from_secs(3);
    let (keeper, held) = hold(meta.clone(), ttl).await.unwrap();
    let keeping = tokio::spawn(keeper.run());
    let lease = held.id();
    let leadership = election::campaign(&*meta, "e", lease, "me".into()).await.unwrap();
    scene.server.pause(0, true);
    let paused = Instant::now();
    soon("the loss of the lease", held.lost()).await;
    assert!(paused.elapsed() < ttl, "{:?}", paused.elapsed());
    assert_eq!(keeping.await.unwrap(), LeaseEnd::NotRenewed);
    scene.server.pause(0, false);
    // In the end, etcd comes to the same opinion, and the leadership with it.
    let mut observer = election::observe(&*meta, "e");
    soon("the end of the leadership", async { while observer.next().await.unwrap().is_some() {} }).await;
    let late = Txn::new().when(leadership.compare()).op(put("late", "x"));
    assert!(matches!(meta.txn(late).await, Ok(TxnOutcome::Conflict(_))));
    assert_eq!(meta.keep_alive(lease).await, Err(MetaError::LeaseNotFound(lease)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_member_errors_are_retryable_and_calls_work_again_later() {
    let mut scene = scene(3);
    let meta = scene.open_hasty("a").await;
    commit(&*meta, put("k", "1")).await;
    scene.server.kill_all();
    // The first call may find a connection that looked well.
    let _ = meta.get("k").await;
    let began = Instant::now();
    let errors = tokio::join!(
        async { meta.get("k").await.map(drop) },
        async { meta.list("").await.map(drop) },
        async { meta.txn(txn(put("k", "2"))).await.map(drop) },
        async { meta.grant(Duration::from_secs(5)).await.map(drop) },
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for error in <[_; 4]>::from(errors) {
        let error = error.unwrap_err();
        assert!(matches!(&error, MetaError::Unavailable(_)), "{error:?}");
        assert!(error.is_retryable() && error.has_no_side_effects());
        for endpoint in scene.server.endpoints() {
            assert!(error.to_string().contains(&endpoint), "{error}");
        }
    }
    scene.server.restart();
    assert_eq!(soon("a read", text(&*meta, "k")).await.as_deref(), Some("1"));
    commit(&*meta, put("k", "3")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_hanging_etcd_took_is_of_unknown_outcome() {
    let scene = scene(1);
    let meta = scene.open_hasty("a").await;
    let revision = commit(&*meta, put("k", "1")).await;
    scene.server.pause(0, true);
    let unchanged = Compare::ModRevision { key: "k".to_owned(), revision };
    let attempt = txn(put("k", "2")).when(unchanged);
    let unknown = meta.txn(attempt.clone()).await.unwrap_err();
    assert!(matches!(&unknown, MetaError::OutcomeUnknown(_)), "{unknown:?}");
    assert!(!unknown.is_retryable() && !unknown.has_no_side_effects());
    assert_eq!(meta.counts().unknown, 1);
    // A read of the same time failed, and changed nothing.
    let failed = meta.get("k").await.unwrap_err();
    assert!(failed.is_retryable() && failed.has_no_side_effects());
    scene.server.pause(0, false);
    // The lost one may still come: sent again, the two are one.
    let _ = soon("an outcome", settle(&*meta, &attempt)).await.unwrap();
    let entry = meta.get("k").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.version), (&b"2"[..], 2));
}
