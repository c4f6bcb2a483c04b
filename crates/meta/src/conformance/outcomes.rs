//! Claims on transactions whose answer is lost.

use std::sync::Arc;

use super::{Faulty, Harness, TxnFault, commit, delete, put, txn, value};
use crate::settle::settle;
use crate::{Compare, Meta as _, MetaError, Revision, Txn, TxnOutcome};

async fn scene(harness: &dyn Harness, key: &str) -> (Arc<Faulty>, Txn) {
    let meta = Arc::new(Faulty::new(harness.meta()));
    let revision = commit(&*meta, [put(key, "before")]).await;
    let compare = Compare::ModRevision { key: key.to_owned(), revision };
    (meta, txn([put(key, "after"), put(&format!("{key}-too"), "after")]).when(compare))
}

pub async fn a_transaction_of_unknown_outcome_is_settled(harness: &dyn Harness) {
    use TxnFault::{LoseAnswer, LoseRequest};
    for (name, faults) in [
        ("settle/answer", vec![LoseAnswer]),
        ("settle/request", vec![LoseRequest]),
        ("settle/both", vec![LoseRequest, LoseAnswer]),
        ("settle/none", vec![]),
    ] {
        let (meta, attempt) = scene(harness, name).await;
        meta.fail_txns(faults);
        let committed = settle(&*meta, &attempt).await.unwrap().committed().unwrap();
        let entry = meta.get(name).await.unwrap().unwrap();
        assert_eq!(
            (&*entry.value, entry.version, entry.mod_revision),
            (&b"after"[..], 2, committed),
            "{name}"
        );
        assert!(matches!(settle(&*meta, &attempt).await, Ok(TxnOutcome::Conflict(_))));
    }
}

pub async fn what_cannot_be_settled_stays_unknown(harness: &dyn Harness) {
    let (meta, attempt) = scene(harness, "unsettled/never").await;
    meta.fail_txns([TxnFault::LoseRequest; 8]);
    let unknown = settle(&*meta, &attempt).await.unwrap_err();
    assert!(matches!(unknown, MetaError::OutcomeUnknown(_)) && !unknown.has_no_side_effects());

    let (meta, attempt) = scene(harness, "unsettled/refused").await;
    meta.fail_txns([TxnFault::LoseAnswer, TxnFault::Refuse]);
    assert!(matches!(settle(&*meta, &attempt).await, Err(MetaError::OutcomeUnknown(_))));
    assert_eq!(value(&*meta, "unsettled/refused").await.as_deref(), Some("after"));
    // Without a fault before it, a refusal is a refusal.
    meta.fail_txns([TxnFault::Refuse]);
    assert!(matches!(settle(&*meta, &attempt).await, Err(MetaError::Unavailable(_))));

    // Someone else was faster, or came later: their value says nothing about ours.
    let (meta, attempt) = scene(harness, "unsettled/other").await;
    commit(&*meta, [put("unsettled/other", "other")]).await;
    meta.fail_txns([TxnFault::LoseRequest]);
    assert!(matches!(settle(&*meta, &attempt).await, Err(MetaError::OutcomeUnknown(_))));
}

pub async fn a_conflict_after_a_lost_request_is_a_conflict(harness: &dyn Harness) {
    let (meta, attempt) = scene(harness, "lost-conflict/a").await;
    let attempt = attempt.when(Compare::Exists { key: "lost-conflict/nothing".to_owned() });
    meta.fail_txns([TxnFault::LoseRequest]);
    assert!(matches!(settle(&*meta, &attempt).await, Ok(TxnOutcome::Conflict(_))));
    assert_eq!(value(&*meta, "lost-conflict/a").await.as_deref(), Some("before"));
}

pub async fn what_could_be_applied_twice_is_not_repeated(harness: &dyn Harness) {
    let meta = harness.meta();
    for twice in [
        txn([put("twice/a", "1")]),
        txn([put("twice/a", "1")]).when(Compare::Exists { key: "twice/a".to_owned() }),
        txn([put("twice/a", "1")]).when(Compare::Absent { key: "twice/b".to_owned() }),
        txn([delete("twice/a")]).when(Compare::Absent { key: "twice/a".to_owned() }),
    ] {
        assert!(matches!(settle(&*meta, &twice).await, Err(MetaError::Invalid(_))));
    }
    assert_eq!(meta.get("twice/a").await.unwrap(), None);
    let once = txn([put("twice/a", "1")]).when(Compare::Absent { key: "twice/a".to_owned() });
    assert!(settle(&*meta, &once).await.unwrap().committed().unwrap() > Revision::NONE);
}
