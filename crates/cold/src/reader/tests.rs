use std::collections::HashMap;

use parking_lot::Mutex;
use proptest::prelude::*;
use tidelog_format::batch::{self, Batch};
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{Incarnation, TimestampMs};

use super::*;
use crate::bucket::faults::{Call, Fault, Faults, Gate};
use crate::sample::{append, batch_at, joined, partition, publish, run};
use crate::tier::{Tier, small_blocks};

const BLOCK: usize = 1_000;

/// Ranges of about four blocks.
fn config() -> CacheConfig {
    CacheConfig { range_bytes: 4 * BLOCK, ..CacheConfig::default() }
}

async fn reader_of(bucket: &Bucket) -> ColdReader {
    ColdReader::new(bucket.clone(), config()).await.unwrap()
}

fn tier_of(bucket: &Bucket) -> Tier {
    small_blocks(bucket, Incarnation(1), BLOCK)
}

/// One segment of a hundred batches, 30 KB, in thirty-odd blocks.
async fn large(bucket: &Bucket, tp: TopicPartition) -> (Vec<Batch>, Pointer) {
    let batches = run(&[1; 100], 230);
    let pointer = publish(&tier_of(bucket), tp, &[&batches]).await;
    (batches, pointer)
}

async fn drain(stream: &mut BatchStream) -> Result<Vec<u8>, ColdError> {
    let mut bytes = Vec::new();
    while let Some(batches) = stream.next().await {
        bytes.extend_from_slice(&batches?);
    }
    Ok(bytes)
}

async fn read(reader: &ColdReader, tp: TopicPartition, pointer: Pointer, from: u64) -> Vec<u8> {
    drain(&mut reader.stream(tp, pointer, Offset(from), ReadOptions::default())).await.unwrap()
}

fn from_offset(batches: &[Batch], from: u64) -> Vec<u8> {
    let first = batches.iter().position(|batch| batch.next_offset() > Offset(from)).unwrap_or(batches.len());
    joined(&batches[first..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_gives_back_exactly_what_went_in(
        records in prop::collection::vec(1usize..20, 1..60),
        value_bytes in 0usize..200,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        from in any::<prop::sample::Index>(),
        range_bytes in 1usize..8_000,
        ranges_ahead in 1usize..20,
    ) {
        let batches = run(&records, value_bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(batches.len())).collect();
        cuts.extend([0, batches.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let end = batches.last().unwrap().next_offset().0;
        let from = from.index(end as usize + 1) as u64;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let bucket = Bucket::in_memory();
            let segments: Vec<&[Batch]> = cuts.windows(2).map(|cut| &batches[cut[0]..cut[1]]).collect();
            let pointer = publish(&tier_of(&bucket), partition(0), &segments).await;
            let config = CacheConfig { range_bytes, memory_bytes: 20_000, ..config() };
            let reader = ColdReader::new(bucket, config).await.unwrap();
            let options = ReadOptions { ranges_ahead, ..ReadOptions::default() };
            drain(&mut reader.stream(partition(0), pointer, Offset(from), options)).await.unwrap()
        });
        prop_assert!(found == from_offset(&batches, from));
    }

    #[test]
    fn a_timestamp_finds_the_first_record_that_is_as_late(
        times in prop::collection::vec(prop::collection::vec(0i64..100, 1..8), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        sought in 0i64..110,
    ) {
        let mut batches = Vec::new();
        let mut expected = None;
        let mut base = 0;
        for times in &times {
            batches.push(batch_at(base, times, 100));
            for (number, time) in times.iter().enumerate() {
                let found = FoundRecord { offset: Offset(base + number as u64), timestamp: TimestampMs(*time) };
                expected = expected.or((*time >= sought).then_some(found));
            }
            base += times.len() as u64;
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(batches.len())).collect();
        cuts.extend([0, batches.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let bucket = Bucket::in_memory();
            let segments: Vec<&[Batch]> = cuts.windows(2).map(|cut| &batches[cut[0]..cut[1]]).collect();
            let pointer = publish(&tier_of(&bucket), partition(0), &segments).await;
            reader_of(&bucket).await.find_timestamp(partition(0), &pointer, TimestampMs(sought)).await.unwrap()
        });
        prop_assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_stream_ends_where_it_was_told_to() {
    let bucket = Bucket::in_memory();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let options = ReadOptions { end: Some(Offset(42)), ..ReadOptions::default() };
    let mut stream = reader.stream(partition(0), pointer, Offset(40), options);
    assert!(drain(&mut stream).await.unwrap() == joined(&batches[40..42]));
    assert_eq!(stream.offset(), Offset(42));
    assert!(read(&reader, partition(0), pointer, 100).await.is_empty());
}

#[tokio::test]
async fn offsets_outside_the_bucket_are_refused() {
    let bucket = Bucket::in_memory();
    let (_, mut pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    pointer.log_start = Offset(10);
    for offset in [9, 101] {
        let mut stream = reader.stream(partition(0), pointer, Offset(offset), ReadOptions::default());
        let error = stream.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ColdError::OutOfRange { .. }) && !error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn one_range_is_fetched_once_however_many_wait_for_it() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let before = faults.count(Call::Get, ".segment");
    let gate = Gate::default();
    faults.fail(Call::Get, ".segment", usize::MAX, Fault::Hold(gate.clone()));
    let reads: Vec<_> = (0..10).map(|_| read(&reader, partition(0), pointer, 0)).collect();
    let opening = async {
        faults.reached(Call::Get, ".segment", before + 1).await;
        gate.open();
    };
    let (found, ()) = tokio::join!(futures::future::join_all(reads), opening);
    assert!(found.iter().all(|found| *found == joined(&batches)));
    let opened =
        reader.inner.manifests.find_offset(partition(0), &pointer, Offset(0)).await.unwrap().unwrap();
    let segment = reader.inner.fetcher.segment(partition(0), opened).await.unwrap();
    assert!(segment.ranges() > 5);
    assert_eq!(faults.count(Call::Get, ".segment") - before, 1 + segment.ranges());
}

#[tokio::test]
async fn a_small_segment_is_one_request() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let batches = run(&[1; 5], 100);
    let pointer = publish(&tier_of(&bucket), partition(0), &[&batches]).await;
    let before = faults.count(Call::Get, ".segment");
    let reader = reader_of(&bucket).await;
    assert!(read(&reader, partition(0), pointer, 0).await == joined(&batches));
    assert_eq!(faults.count(Call::Get, ".segment") - before, 1);
}

#[tokio::test]
async fn many_ranges_are_in_flight() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let batches = run(&vec![1; 3_000], 230);
    let pointer = publish(&tier_of(&bucket), partition(0), &[&batches]).await;
    let reader = reader_of(&bucket).await;
    let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
    // Once the window is open, everything that it has room for is asked for at once.
    while stream.window < STREAM_REQUESTS {
        stream.next().await.unwrap().unwrap();
    }
    let gate = Gate::default();
    faults.fail(Call::Get, ".segment", usize::MAX, Fault::Hold(gate.clone()));
    let before = faults.count(Call::Get, ".segment");
    let reading = drain(&mut stream);
    let opening = async {
        faults.reached(Call::Get, ".segment", before + 12).await;
        gate.open();
    };
    let (found, ()) = tokio::join!(reading, opening);
    assert!(joined(&batches).ends_with(&found.unwrap()));
}

#[tokio::test]
async fn bytes_that_arrive_damaged_once_are_fetched_again() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    for fault in [Fault::FlipByte(700), Fault::ShortBody(9), Fault::WrongRange(1)] {
        // The index and then a range.
        for skip in [0, 3] {
            let reader = reader_of(&bucket).await;
            faults.fail_after(Call::Get, ".segment", skip, 1, fault.clone());
            assert!(read(&reader, partition(0), pointer, 0).await == joined(&batches), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn damage_is_named_and_never_served_and_harms_nobody_else() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let (others, other_pointer) = large(&bucket, partition(1)).await;
    let entry = tier_of(&bucket).manifests().find_offset(partition(0), &pointer, Offset(0)).await;
    let entry = entry.unwrap().unwrap();
    let key = entry.key(partition(0)).to_string();
    let reader = reader_of(&bucket).await;
    // Damage an object in the bucket itself, in the block of offset 50 or so.
    let mut object = bucket.get(&key, entry.bytes).await.unwrap().to_vec();
    let at = object.len() / 2;
    object[at] ^= 1;
    bucket.put(&key, object.clone().into()).await.unwrap();

    let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
    let mut sound = Vec::new();
    let error = loop {
        match stream.next().await.expect("the damage comes before the end") {
            Ok(bytes) => sound.extend_from_slice(&bytes),
            Err(error) => break error,
        }
    };
    let ColdError::Corrupt { key: named, range, .. } = &error else { panic!("{error}") };
    assert_eq!(*named, key);
    assert!(range.contains(&(at as u64)) && range.end - range.start <= 2 * BLOCK as u64, "{error}");
    assert!(error.is_damage() && !error.is_retryable());
    assert_eq!(error.code(), tidelog_model::ErrorCode::BucketCorrupt);
    assert!(!sound.is_empty() && joined(&batches).starts_with(&sound));
    assert!(read(&reader, partition(1), other_pointer, 0).await == joined(&others));
    assert!(stream.next().await.unwrap().is_err(), "it stays an error");

    // What is repaired is read from where it broke off.
    object[at] ^= 1;
    bucket.put(&key, object.into()).await.unwrap();
    sound.extend(drain(&mut stream).await.unwrap());
    assert!(sound == joined(&batches));
    assert!(faults.count(Call::Get, &key) > 0);
}

#[tokio::test]
async fn an_outage_is_retryable_and_the_stream_goes_on_afterwards() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
    let mut found = stream.next().await.unwrap().unwrap().to_vec();
    faults.fail(Call::Get, "", usize::MAX, Fault::Status(503));
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(bytes) => found.extend_from_slice(&bytes),
            Err(error) => break error,
        }
    };
    assert!(error.is_retryable() && !error.is_damage(), "{error}");
    faults.heal();
    found.extend(drain(&mut stream).await.unwrap());
    assert!(found == joined(&batches));
}

struct Current(Mutex<HashMap<TopicPartition, Pointer>>);

#[async_trait]
impl PointerSource for Current {
    async fn pointer(&self, tp: TopicPartition) -> Option<Pointer> {
        self.0.lock().get(&tp).copied()
    }
}

#[tokio::test]
async fn a_missing_object_makes_the_stream_ask_for_a_newer_pointer() {
    let bucket = Bucket::in_memory();
    let tier = tier_of(&bucket);
    let batches = run(&[1; 60], 230);
    let old = publish(&tier, partition(0), &[&batches[..30]]).await;
    let new = append(&tier, partition(0), Some(&old), &batches[30..]).await;
    let root = old.root_key(partition(0)).to_string();
    bucket.delete(&root).await.unwrap();
    let reader = reader_of(&bucket).await;

    let mut stream = reader.stream(partition(0), old, Offset(5), ReadOptions::default());
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_damage() && error.to_string().contains(&root), "{error}");

    let current = Arc::new(Current(Mutex::new(HashMap::from([(partition(0), new)]))));
    let options = ReadOptions { pointers: Some(current.clone()), ..ReadOptions::default() };
    let mut stream = reader.stream(partition(0), old, Offset(5), options);
    assert!(drain(&mut stream).await.unwrap() == joined(&batches[5..]));
    assert_eq!(*stream.pointer(), new);

    // Nobody has a newer one: the error stands, once.
    let entry = tier.manifests().find_offset(partition(0), &new, Offset(40)).await.unwrap().unwrap();
    bucket.delete(&entry.key(partition(0)).to_string()).await.unwrap();
    let reader = reader_of(&bucket).await;
    let options = ReadOptions { pointers: Some(current), ..ReadOptions::default() };
    let error = reader.stream(partition(0), new, Offset(40), options).next().await.unwrap().unwrap_err();
    assert!(matches!(error, ColdError::Missing { .. }), "{error}");
}

#[tokio::test]
async fn cancelling_loses_nothing() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
    let mut found = Vec::new();
    loop {
        let gate = Gate::default();
        faults.fail(Call::Get, "", 1, Fault::Hold(gate.clone()));
        // Polled once, then dropped wherever it stands.
        if let std::task::Poll::Ready(next) = futures::poll!(std::pin::pin!(stream.next())) {
            let Some(bytes) = next else { break };
            found.extend_from_slice(&bytes.unwrap());
        }
        gate.open();
        tokio::task::yield_now().await;
    }
    assert!(found == joined(&batches));
}

#[tokio::test(start_paused = true)]
async fn streams_that_stand_still_stop_nobody_and_memory_stays_bounded() {
    let bucket = Bucket::in_memory();
    let (batches, pointer) = large(&bucket, partition(0)).await;
    let readahead_bytes = 10 * BLOCK;
    let config = CacheConfig { readahead_bytes, memory_bytes: 1, ..config() };
    let reader = ColdReader::new(bucket, config).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
        let first = stream.next().await.unwrap().unwrap();
        idle.push((stream, first.to_vec()));
    }
    assert!(read(&reader, partition(0), pointer, 0).await == joined(&batches));
    // And those that stood still go on where they were.
    for (mut stream, mut found) in idle {
        found.extend(drain(&mut stream).await.unwrap());
        assert!(found == joined(&batches));
    }
    assert_eq!(reader.inner.readahead.available(), readahead_bytes);
}

#[tokio::test]
async fn a_dropped_stream_gives_its_memory_back() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let (_, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let mut stream = reader.stream(partition(0), pointer, Offset(0), ReadOptions::default());
    stream.next().await.unwrap().unwrap();
    let gate = Gate::default();
    faults.fail(Call::Get, "", usize::MAX, Fault::Hold(gate));
    let total = config().readahead_bytes;
    // Read until it hangs, then let go of it.
    while let std::task::Poll::Ready(Some(_)) = futures::poll!(std::pin::pin!(stream.next())) {}
    assert!(reader.inner.readahead.available() < total);
    drop(stream);
    while reader.inner.readahead.available() < total {
        tokio::task::yield_now().await;
    }
}

/// A reader with a disk cache, and how many GETs of segments a replay takes.
struct OnDisk {
    bucket: Bucket,
    faults: Faults,
    directory: tempfile::TempDir,
    batches: Vec<Batch>,
    pointer: Pointer,
}

impl OnDisk {
    async fn new() -> Self {
        let (bucket, faults) = Bucket::in_memory().with_faults();
        let (batches, pointer) = large(&bucket, partition(0)).await;
        Self { bucket, faults, directory: tempfile::tempdir().unwrap(), batches, pointer }
    }

    async fn open(&self) -> ColdReader {
        let disk = DiskCache { directory: self.directory.path().join("cache"), bytes: 32 << 20 };
        // No memory: what is read again comes from disk or bucket.
        let config = CacheConfig { disk: Some(disk), memory_bytes: 1, ..config() };
        ColdReader::new(self.bucket.clone(), config).await.unwrap()
    }

    async fn replay(&self, reader: &ColdReader) -> usize {
        let before = self.faults.count(Call::Get, ".segment");
        assert!(read(reader, partition(0), self.pointer, 0).await == joined(&self.batches));
        self.faults.count(Call::Get, ".segment") - before
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replay_leaves_the_disk_alone_and_the_second_fills_it() {
    let site = OnDisk::new().await;
    let reader = site.open().await;
    let all = site.replay(&reader).await;
    reader.close().await;
    let reader = site.open().await;
    assert_eq!(site.replay(&reader).await, all, "nothing was on disk");
    // The second time in one life.
    assert_eq!(site.replay(&reader).await, all - 1, "only the index was still in memory");
    reader.close().await;
    let reader = site.open().await;
    assert_eq!(site.replay(&reader).await, 1, "everything but the index is on disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_disk_cache_is_never_served() {
    let site = OnDisk::new().await;
    let reader = site.open().await;
    let all = site.replay(&reader).await;
    site.replay(&reader).await;
    reader.close().await;
    drop(reader);
    for file in std::fs::read_dir(site.directory.path().join("cache")).unwrap() {
        let path = file.unwrap().path();
        let mut content = std::fs::read(&path).unwrap();
        // Spare what foyer needs to find its entries: the damage is to be in what they hold.
        for byte in content.iter_mut().skip(8_192).step_by(512).filter(|byte| **byte != 0) {
            *byte ^= 1;
        }
        std::fs::write(&path, content).unwrap();
    }
    let reader = site.open().await;
    let gets = site.replay(&reader).await;
    assert!(gets > 1 && gets <= all, "{gets} of {all} came from the bucket again");
}

#[tokio::test]
async fn streams_and_uploads_may_move_between_threads() {
    fn movable<T: Send + 'static>(_: &T) {}
    let bucket = Bucket::in_memory();
    let (_, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    movable(&reader.stream(partition(0), pointer, Offset(0), ReadOptions::default()));
    movable(&tier_of(&bucket).segment(partition(0), crate::sample::EPOCH));
}

#[tokio::test]
async fn every_piece_is_whole_batches() {
    let bucket = Bucket::in_memory();
    let (_, pointer) = large(&bucket, partition(0)).await;
    let reader = reader_of(&bucket).await;
    let mut stream = reader.stream(partition(0), pointer, Offset(3), ReadOptions::default());
    let mut next = Offset(3);
    while let Some(piece) = stream.next().await {
        for batch in batch::split(piece.unwrap(), BATCH_BYTES_MAX) {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            assert_eq!(batch.base_offset(), next);
            next = batch.next_offset();
        }
        assert_eq!(stream.offset(), next);
    }
    assert_eq!(next, Offset(100));
}
