//! An etcd that is not the one it was, and one that several clusters share.

use std::path::Path;
use std::process::Command;

use tidelog_meta::{Etcd, EtcdOptions, Meta as _, MetaError, Seen, Watch, WatchError};

use crate::support::{commit, put, scene, soon, text};

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

fn assert_restored(error: &MetaError) {
    assert!(matches!(error, MetaError::Restored { .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("restored"), "{error}");
}

async fn reopen(options: EtcdOptions, remembered: Seen) -> Result<Etcd, MetaError> {
    Etcd::open(EtcdOptions { remembered: Some(remembered), ..options }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_restored_from_an_older_copy_is_noticed() {
    let mut scene = scene(1);
    let meta = scene.open("a").await;
    commit(&*meta, put("k", "old")).await;
    scene.server.kill_all();
    let (data, backup) = (scene.server.data(0).to_owned(), scene.workspace.path().join("backup"));
    copy(&data, &backup);
    scene.server.restart();
    let newest = soon("a commit", async {
        for _ in 0..20 {
            commit(&*meta, put("k", "new")).await;
        }
        commit(&*meta, put("k", "newest")).await
    })
    .await;
    let mut watch = meta.watch("k", newest).await.unwrap();
    assert_eq!(soon("a change", watch.next()).await.unwrap().revision, newest);
    let remembered = meta.seen();
    assert!(remembered.revision >= newest && remembered.store != 0);
    // The same etcd, started again, is the one it was.
    scene.server.kill_all();
    scene.server.restart();
    assert_eq!(soon("a read", text(&*meta, "k")).await.as_deref(), Some("newest"));
    reopen(scene.options("a"), remembered).await.unwrap();

    scene.server.kill_all();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    scene.server.restart();
    assert_restored(&soon("a refusal", meta.get("k")).await.unwrap_err());
    assert_restored(&meta.txn(tidelog_meta::Txn::new().op(put("k", "x"))).await.unwrap_err());
    assert_restored(&of_watch(&mut watch).await);
    assert_restored(&reopen(scene.options("a"), remembered).await.unwrap_err());
    // Whoever remembers nothing has nothing to compare.
    let fresh = scene.open("a").await;
    assert_eq!(text(&*fresh, "k").await.as_deref(), Some("old"));
}

async fn of_watch(watch: &mut Watch) -> MetaError {
    match soon("the end of the watch", watch.next()).await {
        Err(WatchError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_etcd_is_not_taken_for_the_one_it_was() {
    let (first, second) = (scene(1), scene(1));
    let remembered = first.open("a").await.seen();
    let other = second.open("a").await;
    for _ in 0..remembered.revision.0 + 5 {
        commit(&*other, put("k", "1")).await;
    }
    assert_restored(&reopen(second.options("a"), remembered).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_with_prefixes_of_their_own_share_an_etcd() {
    let scene = scene(1);
    let (one, two) = (scene.open("one").await, scene.open("one-more").await);
    commit(&*one, put("k", "1")).await;
    let revision = commit(&*two, put("k", "2")).await;
    assert_eq!(text(&*one, "k").await.as_deref(), Some("1"));
    assert_eq!(one.list("").await.unwrap().entries.len(), 1);
    assert_eq!(&*two.list("").await.unwrap().entries[0].key, "k");
    let mut watch = one.watch("", revision).await.unwrap();
    let own = commit(&*one, put("k", "3")).await;
    assert_eq!(soon("a change", watch.next()).await.unwrap().revision, own);
    // What is there has the keys that the documentation tells.
    let raw = scene.raw().await.get("one/k", None).await.unwrap();
    assert_eq!(raw.kvs()[0].value(), b"3");
}
