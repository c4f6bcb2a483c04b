//! A store on a disk that fails, and one that dies in the middle of things. Failpoints are the whole
//! process's, so these tests run one after the other.

#[path = "../store/support.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;

use std::time::Duration;

use fail::FailScenario;
use parking_lot::Mutex;
use support::{MIB, SOON, Site, batch_at, partition, texts};
use tidelog_model::{ErrorCode, Offset};
use tidelog_peer::PartitionStore as _;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Lets some real time pass while something else goes on.
async fn a_moment() {
    let _ = tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(8).enable_all().build().unwrap()
}

#[test]
fn a_full_disk_refuses_records_and_serves_reads_until_there_is_room() {
    let _alone = ONE_AT_A_TIME.lock();
    let scenario = FailScenario::setup();
    runtime().block_on(async {
        let mut site = Site::new();
        (site.file_bytes, site.budget_bytes) = (MIB, 64 * MIB);
        let running = site.start().await;
        let topic = running.topic("t", 1, &[("tier.max.age.ms", "3600000")]).await;
        let tp = partition(&topic, 0);
        running.produce(tp, batch_at(site.now(), &["first"])).await.unwrap();
        fail::cfg("journal::create", "return(enospc)").unwrap();
        fail::cfg("journal::fill", "return(enospc)").unwrap();
        let batch = || batch_at(site.now(), &[vec![b'x'; 64 * 1024]]);
        let mut taken = 1;
        let refused = loop {
            match tokio::time::timeout(SOON, running.produce(tp, batch())).await.unwrap() {
                Ok(produced) => assert_eq!(produced.base_offset, Offset(taken)),
                Err(error) => break error,
            }
            taken += 1;
            assert!(taken < 1_000, "the disk is never full");
        };
        assert_eq!(refused.code, ErrorCode::StorageFull);
        assert!(refused.is_retryable() && refused.has_no_side_effects());
        assert_eq!(running.read(tp, Offset(0)).await.unwrap().len() as u64, taken);
        fail::remove("journal::create");
        fail::remove("journal::fill");
        let deadline = tokio::time::Instant::now() + SOON;
        let produced = loop {
            match running.produce(tp, batch()).await {
                Ok(produced) => break produced,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
            }
            a_moment().await;
        };
        assert_eq!(produced.base_offset, Offset(taken), "what was refused left no gap");
        running.stop().await;
    });
    scenario.teardown();
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_and_ends_the_process() {
    let _alone = ONE_AT_A_TIME.lock();
    let scenario = FailScenario::setup();
    runtime().block_on(async {
        let site = Site::new();
        let running = site.start().await;
        let topic = running.topic("t", 1, &[]).await;
        let tp = partition(&topic, 0);
        running.produce(tp, batch_at(site.now(), &["durable"])).await.unwrap();
        fail::cfg("journal::sync", "return(eio)").unwrap();
        let error = running.produce(tp, batch_at(site.now(), &["unknown"])).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StorageError);
        assert!(!error.has_no_side_effects());
        let fatal = tokio::time::timeout(SOON, running.supervisor.fatal()).await.unwrap();
        assert_eq!(fatal.task, "journal");
        fail::remove("journal::sync");
        let error = running.produce(tp, batch_at(site.now(), &["late"])).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StorageError, "a failed sync is never tried again");
        let site = site.crashed();
        let running = site.start().await;
        let read = texts(&running.read(tp, Offset(0)).await.unwrap());
        assert!(read == ["durable"] || read == ["durable", "unknown"], "{read:?}");
    });
    scenario.teardown();
}

#[test]
fn a_crash_at_any_step_of_an_offload_loses_and_repeats_nothing() {
    let _alone = ONE_AT_A_TIME.lock();
    for step in [
        "store::offload-begun",
        "store::offload-segment-uploaded",
        "store::offload-manifest-uploaded",
        "store::offload-before-commit",
        "store::offload-after-commit",
    ] {
        let scenario = FailScenario::setup();
        runtime().block_on(crash_at(step));
        scenario.teardown();
    }
}

/// Stops an offload at a step, takes the disk as it is then, and goes on with that.
async fn crash_at(step: &str) {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[("tier.max.age.ms", "3600000")]).await;
    let tp = partition(&topic, 0);
    let mut expected = Vec::new();
    for round in 0..2 {
        for n in 0..5 {
            let value = format!("{round}-{n}");
            running.produce(tp, batch_at(site.now(), &[&value])).await.unwrap();
            expected.push(value);
        }
        if round == 0 {
            running.store.offload(topic.id).await.unwrap();
        }
    }
    let (reached, stopped) = std::sync::mpsc::channel();
    let (resume, resumed) = std::sync::mpsc::channel::<()>();
    let (reached, resumed) = (Mutex::new(reached), Mutex::new(resumed));
    fail::cfg_callback(step, move || {
        let _ = reached.lock().send(());
        let _ = resumed.lock().recv();
    })
    .unwrap();
    let store = running.store.clone();
    let offload = tokio::spawn(async move { store.offload(topic.id).await });
    let crashed = tokio::task::spawn_blocking(move || {
        stopped.recv_timeout(SOON).expect("the offload reaches the step");
        site.crashed()
    });
    let site = crashed.await.unwrap();
    fail::remove(step);
    drop(resume);
    let after = site.start().await;
    for _ in 0..2 {
        assert_eq!(texts(&after.read(tp, Offset(0)).await.unwrap()), expected, "{step}");
        after.store.offload(topic.id).await.unwrap();
        after.store.evict(topic.id).await.unwrap();
        assert_eq!(after.describe(tp).await.marks.tiered_end, Offset(10), "{step}");
    }
    assert_eq!(after.describe(tp).await.segments, 2, "{step}");
    let _ = offload.await.unwrap();
}
