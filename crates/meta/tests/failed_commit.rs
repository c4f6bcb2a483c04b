//! Alone in its process: failpoints are global.

use std::time::Duration;

use tidelog_meta::{Creation, Embedded, Meta as _, MetaError, Op, Txn};

fn put(key: &str) -> Txn {
    Txn::new().op(Op::Put { key: key.into(), value: "1".into(), lease: None })
}

#[tokio::test]
async fn a_disk_error_ends_the_store_and_is_never_a_success() {
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
