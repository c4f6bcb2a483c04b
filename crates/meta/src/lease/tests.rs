use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::advance;

use super::*;
use crate::conformance::Faulty;
use crate::{Creation, Embedded, Meta as _, MonotonicClock, Txn, keys};

const TTL: Duration = Duration::from_secs(10);

/// Tokio's paused clock, for the store too.
#[derive(Debug)]
struct Paused;

impl MonotonicClock for Paused {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

struct Scene {
    meta: Arc<Faulty>,
    _directory: tempfile::TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let meta = Embedded::open_with_clock(directory.path(), Creation::IfMissing, Arc::new(Paused)).unwrap();
    Scene { meta: Arc::new(Faulty::new(Arc::new(meta))), _directory: directory }
}

/// Lets time pass in steps, so that every timer is heard.
async fn pass(time: Duration) {
    for _ in 0..time.as_millis() / 50 {
        advance(Duration::from_millis(50)).await;
        tokio::task::yield_now().await;
    }
}

async fn held(scene: &Scene) -> (HeldLease, JoinHandle<LeaseEnd>) {
    let (keeper, held) = hold(scene.meta.clone(), TTL).await.unwrap();
    (held, tokio::spawn(keeper.run()))
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_stays_valid_for_many_times_its_length() {
    let scene = scene();
    let (held, keeper) = held(&scene).await;
    pass(TTL * 5).await;
    assert!(held.is_valid() && !keeper.is_finished());
    assert!(scene.meta.keep_alive(held.id()).await.is_ok());
    // Three renewals in each time to live.
    let kept = scene.meta.counts().keep_alives;
    assert!((15..=17).contains(&kept), "{kept}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_stops_before_the_store_ends_the_lease() {
    let scene = scene();
    let (held, keeper) = held(&scene).await;
    pass(TTL).await;
    scene.meta.refuse_keep_alives(true);
    let cut = tokio::time::Instant::now().into_std();
    held.lost().await;
    let noticed = tokio::time::Instant::now().into_std();
    // The last renewal was a third of the time ago at most.
    assert!(noticed >= cut + TTL / 2, "{:?}", noticed - cut);
    assert!(noticed < cut + TTL * 9 / 10 + Duration::from_millis(50), "{:?}", noticed - cut);
    assert!(!held.is_valid());
    scene.meta.refuse_keep_alives(false);
    assert!(scene.meta.keep_alive(held.id()).await.is_ok(), "the store has not ended it yet");
    // Over is over, although the store is back in time.
    assert_eq!(keeper.await.unwrap(), LeaseEnd::NotRenewed);
    assert!(!held.is_valid());
    held.lost().await;
}

#[tokio::test(start_paused = true)]
async fn a_short_interruption_is_bridged() {
    let scene = scene();
    let (held, keeper) = held(&scene).await;
    pass(TTL).await;
    scene.meta.refuse_keep_alives(true);
    pass(TTL / 2).await;
    scene.meta.refuse_keep_alives(false);
    pass(TTL * 2).await;
    assert!(held.is_valid() && !keeper.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_told_at_the_next_renewal_that_its_lease_was_revoked() {
    let scene = scene();
    let (held, keeper) = held(&scene).await;
    scene.meta.revoke(held.id()).await.unwrap();
    pass(TTL / 2).await;
    assert_eq!(keeper.await.unwrap(), LeaseEnd::Ended);
    held.lost().await;
    assert_eq!(held.valid_until(), None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_keeper_is_gone_runs_out() {
    let scene = scene();
    let (keeper, held) = hold(scene.meta.clone(), TTL).await.unwrap();
    drop(keeper);
    assert!(held.is_valid());
    held.lost().await;
    assert!(!held.is_valid());
    let txn = Txn::new().delete(&keys::cluster());
    assert!(scene.meta.txn(txn).await.is_ok());
}
