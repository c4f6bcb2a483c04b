use super::*;

fn key(block: u32) -> RangeKey {
    RangeKey { segment: ObjectId::from_bytes([7; 16]), block }
}

fn range(block: u32, bytes: usize) -> Bytes {
    vec![block as u8; bytes].into()
}

fn disk(directory: &tempfile::TempDir, bytes: u64) -> DiskCache {
    DiskCache { directory: directory.path().join("cache"), bytes }
}

#[tokio::test]
async fn one_reading_of_everything_leaves_what_is_kept_alone() {
    let cache = RangeCache::open(80 << 20, None).await.unwrap();
    cache.insert(key(0), &range(0, 1 << 20));
    assert!(cache.get_memory(&key(0)).is_some());
    for block in 1..200 {
        cache.insert(key(block), &range(block, 1 << 20));
    }
    assert_eq!(cache.get_memory(&key(0)), Some(range(0, 1 << 20)));
    assert!(cache.get_memory(&key(199)).is_some(), "it was read lately");
    assert!(cache.get_memory(&key(150)).is_none(), "it ran through");
    assert!(cache.memory_bytes() <= 12 << 20);
    // What is read again fills the rest, and no more than that.
    for block in 200..400 {
        cache.insert(key(block), &range(block, 1 << 20));
        cache.get_memory(&key(block)).unwrap();
    }
    assert!((70 << 20..=80 << 20).contains(&cache.memory_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn what_many_threads_admit_at_the_same_time_is_all_there_after_a_restart() {
    const EACH: u32 = 40;
    let directory = tempfile::tempdir().unwrap();
    let cache = RangeCache::open(1, Some(&disk(&directory, 64 << 20))).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for block in task * EACH..(task + 1) * EACH {
                    cache.insert(key(block), &range(block, 5_000));
                    cache.insert(key(block), &range(block, 5_000));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    cache.close().await;
    drop(cache);
    let cache = RangeCache::open(1, Some(&disk(&directory, 64 << 20))).await.unwrap();
    for block in 0..8 * EACH {
        assert_eq!(cache.get_disk(&key(block), |_| true).await, Some(range(block, 5_000)), "{block}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_much_as_waits_for_the_disk_at_most_is_written_however_fast_it_comes() {
    const RANGE: usize = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let cache = RangeCache::open(1, Some(&disk(&directory, 256 << 20))).await.unwrap();
    for block in 0..8 {
        cache.insert(key(block), &range(block, RANGE));
        cache.insert(key(block), &range(block, RANGE));
    }
    cache.close().await;
    for block in 0..8 {
        assert_eq!(cache.get_disk(&key(block), |_| true).await, Some(range(block, RANGE)), "{block}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_goes_to_disk_with_its_second_reading() {
    let directory = tempfile::tempdir().unwrap();
    let cache = RangeCache::open(1 << 20, Some(&disk(&directory, 64 << 20))).await.unwrap();
    for block in 0..3 {
        cache.insert(key(block), &range(block, 5_000));
    }
    cache.get_memory(&key(1)).unwrap();
    // Fetched again: not in memory, or two waited for it.
    cache.insert(key(2), &range(2, 5_000));
    cache.close().await;
    let found = [
        cache.get_disk(&key(0), |_| true).await,
        cache.get_disk(&key(1), |_| true).await,
        cache.get_disk(&key(2), |_| true).await,
    ];
    assert_eq!(found, [None, Some(range(1, 5_000)), Some(range(2, 5_000))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_damaged_on_disk_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let cache = RangeCache::open(1, Some(&disk(&directory, 64 << 20))).await.unwrap();
    for reading in 0..2 {
        cache.insert(key(reading / 2), &range(0, 5_000));
    }
    cache.close().await;
    let cache = RangeCache::open(1, Some(&disk(&directory, 64 << 20))).await.unwrap();
    assert!(cache.get_disk(&key(0), |_| false).await.is_none());
    assert!(cache.get_disk(&key(0), |_| true).await.is_none(), "it is gone");
}
