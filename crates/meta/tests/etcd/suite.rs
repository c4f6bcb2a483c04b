//! The conformance suite on one member and on three.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidelog_meta::conformance::{Harness, check_all};
use tidelog_meta::{Etcd, Meta as _, SharedMeta};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};

use crate::support::{Scene, pass, scene};

/// One claim's view of an etcd that it shares with all others.
struct Shared {
    meta: Arc<Etcd>,
    raw: etcd_client::Client,
    /// Compaction is for everyone: it happens while nobody else needs the past.
    past: Arc<RwLock<()>>,
    needed: Mutex<Option<OwnedRwLockReadGuard<()>>>,
}

#[async_trait]
impl Harness for Shared {
    fn meta(&self) -> SharedMeta {
        self.meta.clone()
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn advance(&self, by: Duration) {
        pass(by).await;
    }

    async fn compact(&self) {
        let mut needed = self.needed.lock().await;
        drop(needed.take());
        let alone = Arc::clone(&self.past).write_owned().await;
        self.meta.get("any").await.unwrap();
        let newest = i64::try_from(self.meta.seen().revision.0).unwrap();
        self.raw.clone().compact(newest, None).await.unwrap();
        *needed = Some(alone.downgrade());
    }
}

async fn check(scene: &Scene) {
    let past = Arc::new(RwLock::new(()));
    check_all(async |claim| {
        let needed = Arc::clone(&past).read_owned().await;
        let prefix = claim.replace('_', "-");
        let (meta, raw) = (scene.open(&prefix).await, scene.raw().await);
        let shared = Shared { meta, raw, past: Arc::clone(&past), needed: Mutex::new(Some(needed)) };
        let harness: Arc<dyn Harness> = Arc::new(shared);
        harness
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_of_etcd_conforms() {
    check(&scene(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_of_etcd_conform() {
    check(&scene(3)).await;
}
