//! The power goes while appends are under way: what was acknowledged is there when it comes back.
#![cfg(target_os = "linux")]

mod loop_device;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loop_device::LoopDevice;
use support::{Fixture, KIB, batch, config, tp, until};
use tidelog_journal::{AppendError, Direct, JournalConfig};

const PARTITIONS: u32 = 3;

/// Appends one after the other until it fails. Returns how many were acknowledged.
async fn append_until_the_end(fixture: Arc<Fixture>, partition: u32, acknowledged: Arc<AtomicU64>) -> u64 {
    loop {
        let base = fixture.owner.end(tp(partition)).0;
        match fixture.put_batch(tp(partition), &expected(partition, base)).await {
            Ok(_) => acknowledged.fetch_add(1, Ordering::Relaxed),
            Err(AppendError::Failed(_)) => return base,
            Err(error) => panic!("{error}"),
        };
    }
}

fn expected(partition: u32, base: u64) -> bytes::Bytes {
    batch(base, 1, 200 + (base as usize * 977 + partition as usize * 131) % (12 * KIB), base)
}

async fn survives_power_cuts(direct: Direct) {
    let Some(device) = LoopDevice::new(96 << 20) else { return };
    let config =
        JournalConfig { direct, budget_bytes: 4 << 20, ..config(&device.mount_point().join("data")) };
    for round in 0..6_u64 {
        let fixture = Arc::new(Fixture::with(config.clone()).unwrap());
        for partition in 0..PARTITIONS {
            fixture.journal.set_covered(tp(partition), fixture.owner.end(tp(partition)));
        }
        let acknowledged = Arc::<AtomicU64>::default();
        let appenders: Vec<_> = (0..PARTITIONS)
            .map(|number| {
                tokio::spawn(append_until_the_end(Arc::clone(&fixture), number, Arc::clone(&acknowledged)))
            })
            .collect();
        // Later in each round: before the first rotation, in the midst of some, after recycling began.
        let enough = 5 + round * round * 17;
        until("appends", || acknowledged.load(Ordering::Relaxed) >= enough).await;
        device.cut_power();
        let mut ends = Vec::new();
        for appender in appenders {
            ends.push(appender.await.unwrap());
        }
        tokio::time::timeout(Duration::from_secs(10), fixture.journal.failed()).await.unwrap();
        drop(fixture);
        device.restore_power();

        let fixture = Fixture::with(config.clone()).unwrap();
        for (partition, end) in (0..PARTITIONS).zip(ends) {
            let found = fixture.owner.end(tp(partition)).0;
            // One append may have been under way.
            assert!(found == end || found == end + 1, "round {round}: {found} of {end} came back");
            let Some((local, read)) = fixture.read_local(tp(partition)).await else { continue };
            for (base, read) in (local.start.0..).zip(read) {
                assert!(read == expected(partition, base), "round {round}: partition {partition} at {base}");
            }
        }
        fixture.journal.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut() {
    survives_power_cuts(Direct::Auto).await;
}

/// Here the page cache holds what is not synced, and loses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_power_cut_through_the_page_cache() {
    survives_power_cuts(Direct::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_really_full_refuses_appends_and_recovers_by_itself() {
    let Some(device) = LoopDevice::new(64 << 20) else { return };
    let config = JournalConfig { budget_bytes: 64 << 20, ..config(&device.mount_point()) };
    let fixture = Fixture::with(config.clone()).unwrap();
    let ballast = device.mount_point().join("ballast");
    std::fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let mut written = Vec::new();
    let error = loop {
        let base = fixture.owner.end(tp(0)).0;
        match fixture.put_batch(tp(0), &expected(0, base)).await {
            Ok(_) => written.push(expected(0, base)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    assert_eq!(fixture.read_all(tp(0), 0).await, written, "reads go on");
    std::fs::remove_file(&ballast).unwrap();
    until("the disk has room again", || !fixture.journal.stats().disk_full).await;
    let base = fixture.owner.end(tp(0)).0;
    fixture.put_batch(tp(0), &expected(0, base)).await.unwrap();
    written.push(expected(0, base));
    drop(fixture);
    assert_eq!(Fixture::with(config).unwrap().read_all(tp(0), 0).await, written);
}
