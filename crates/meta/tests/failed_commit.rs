//! Alone in its process, and one after the other: failpoints are global.

use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::{Creation, Embedded, ManualMonotonic, Meta as _, MetaError, Op, Txn};

fn put(key: &str) -> Txn {
    Txn::new().op(Op::Put { key: key.into(), value: "1".into(), lease: None })
}

/// Held by each test while it has failpoints set.
static FAILPOINTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn a_full_disk_refuses_changes_serves_reads_and_passes() {
    let _alone = FAILPOINTS.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualMonotonic::default());
    let meta = Embedded::open_with_clock(directory.path(), Creation::IfMissing, clock.clone()).unwrap();
    let lease = meta.grant(Duration::from_secs(5)).await.unwrap().id;
    let leased = Op::Put { key: "leased".into(), value: "1".into(), lease: Some(lease) };
    let _ = meta.txn(Txn::new().op(leased)).await.unwrap();

    fail::cfg("meta::reserve", "return(no room)").unwrap();
    let full = MetaError::Unavailable("no room".into());
    assert_eq!(meta.txn(put("a")).await, Err(full.clone()));
    assert!(full.is_retryable() && full.has_no_side_effects());
    assert_eq!(meta.revoke(lease).await, Err(full));
    assert!(meta.keep_alive(lease).await.is_ok(), "a refused end is none");
    assert!(meta.get("leased").await.unwrap().is_some());
    // A lease that ends meanwhile is over, though its keys stay for now.
    clock.advance(Duration::from_secs(6));
    assert!(meta.txn(put("a")).await.is_err());
    assert_eq!(meta.keep_alive(lease).await, Err(MetaError::LeaseNotFound(lease)));

    fail::remove("meta::reserve");
    clock.advance(Duration::from_secs(2));
    assert!(meta.txn(put("a")).await.unwrap().committed().is_some());
    assert_eq!(meta.get("leased").await, Ok(None));
    assert_eq!(meta.keep_alive(lease).await, Err(MetaError::LeaseNotFound(lease)));
}

#[tokio::test]
async fn a_disk_error_ends_the_store_and_is_never_a_success() {
    let _alone = FAILPOINTS.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let meta = Embedded::open(directory.path(), Creation::IfMissing).unwrap();
    assert!(meta.txn(put("before")).await.unwrap().committed().is_some());

    fail::cfg("meta::commit", "1*return(no space left)").unwrap();
    let unknown = meta.txn(put("lost")).await.unwrap_err();
    assert_eq!(unknown, MetaError::OutcomeUnknown("no space left".into()));
    assert!(!unknown.has_no_side_effects());
    assert_eq!(meta.failed().await, "no space left");
    for refused in [meta.txn(put("after")).await.map(drop), meta.get("before").await.map(drop)] {
        assert_eq!(refused, Err(MetaError::Failed("no space left".into())));
    }
    assert!(meta.grant(Duration::from_secs(5)).await.is_err());
    drop(meta);

    let meta = Embedded::open(directory.path(), Creation::Never).unwrap();
    assert!(meta.get("before").await.unwrap().is_some());
    assert!(meta.get("after").await.unwrap().is_none());
}
