//! A tail that is shared: how often the store is asked, who gets what, what is kept.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use harness::{Fake, within};
use proptest::prelude::*;
use tidelog_format::batch;
use tidelog_frontend::{SharedTail, TailOptions};
use tidelog_model::{ErrorCode, LeaderEpoch, Offset, PartitionId, TopicPartition};
use tidelog_peer::{CreateTopic, Fetch, Fetched, Isolation, PartitionStore, StoreError, Topics};
use tidelog_runtime::{Metrics, Supervisor};

const WAIT: Duration = Duration::from_secs(30);

struct Shared {
    fake: Arc<Fake>,
    tail: SharedTail,
    partition: TopicPartition,
    metrics: Metrics,
    _supervisor: Supervisor,
}

impl Shared {
    async fn start() -> Self {
        Self::with(TailOptions::default()).await
    }

    async fn with(options: TailOptions) -> Self {
        let (fake, metrics, supervisor) = (Arc::new(Fake::default()), Metrics::default(), Supervisor::new());
        let tail = SharedTail::new(fake.clone(), options, &metrics, &supervisor);
        let create =
            CreateTopic { name: "t".to_owned(), partitions: 4, replication_factor: None, config: Vec::new() };
        let topic = fake.create(create).await.unwrap();
        let partition = TopicPartition::new(topic.id, PartitionId(0));
        Self { fake, tail, partition, metrics, _supervisor: supervisor }
    }

    fn fetch(&self, from: u64) -> Fetch {
        Fetch {
            partition: self.partition,
            from: Offset(from),
            max_bytes: 64 * 1024,
            max_wait: Some(WAIT),
            isolation: Isolation::ReadUncommitted,
            follower: false,
        }
    }

    /// The fetch in a task of its own.
    fn begin(&self, fetch: Fetch) -> tokio::task::JoinHandle<Result<Fetched, StoreError>> {
        let tail = self.tail.clone();
        tokio::spawn(async move { tail.fetch(fetch).await })
    }

    /// All tasks have come as far as they can.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn append(&self, records: usize) {
        self.fake.change(self.partition, |log| log.append(records));
    }

    fn fetches(&self) -> usize {
        self.fake.change(self.partition, |log| log.fetches)
    }

    fn metric(&self, name: &str) -> usize {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("tidelog_{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
    }

    /// Nothing is kept of anything.
    async fn forgets_all(&self) {
        tokio::time::advance(TailOptions::default().keep + Duration::from_secs(2)).await;
        self.settle().await;
        assert_eq!(self.metric("frontend_tail_held_bytes"), 0);
        assert_eq!(self.metric("frontend_tail_partitions"), 0);
    }
}

fn bounds(batches: &[Bytes]) -> (u64, u64) {
    let header = |bytes| batch::header(bytes).unwrap();
    (header(&batches[0]).base_offset.0, header(&batches[batches.len() - 1]).next_offset().0)
}

fn batches(answer: Result<Fetched, StoreError>) -> Vec<Bytes> {
    match answer.unwrap() {
        Fetched::Batches { batches, .. } => batches,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_batch_is_fetched_once_however_many_wait_for_it() {
    const READERS: usize = 50;
    let shared = Shared::start().await;
    for round in 0..20 {
        let readers: Vec<_> = (0..READERS).map(|_| shared.begin(shared.fetch(round * 10))).collect();
        shared.settle().await;
        shared.append(10);
        for answer in within(join_all(readers)).await {
            assert_eq!(bounds(&batches(answer.unwrap())), (round * 10, round * 10 + 10));
        }
    }
    assert_eq!(shared.fetches(), 20);
    assert_eq!(shared.metric("frontend_tail_asked_total"), 20);
    assert_eq!(shared.metric("frontend_tail_joined_total"), 20 * (READERS - 1));
    shared.forgets_all().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_a_little_behind_is_served_from_memory() {
    let shared = Shared::start().await;
    for round in 0..5 {
        let reader = shared.begin(shared.fetch(round * 10));
        shared.settle().await;
        shared.append(10);
        within(reader).await.unwrap().unwrap();
    }
    for max_wait in [None, Some(WAIT)] {
        let fetch = Fetch { max_wait, ..shared.fetch(13) };
        assert_eq!(bounds(&batches(within(shared.tail.fetch(fetch)).await)), (10, 50));
        let one = Fetch { max_bytes: 1, ..fetch };
        assert_eq!(bounds(&batches(within(shared.tail.fetch(one)).await)), (10, 20));
    }
    assert_eq!(shared.fetches(), 5);
    assert!(shared.metric("frontend_tail_served_bytes_total") > 10_000);
    shared.forgets_all().await;
}

#[tokio::test(start_paused = true)]
async fn a_laggard_pulls_alone_and_comes_back_to_the_shared_tail() {
    let options = TailOptions { partition_bytes: 8 * 1024, ..TailOptions::default() };
    let shared = Shared::with(options).await;
    for round in 0..50 {
        let reader = shared.begin(shared.fetch(round * 10));
        shared.settle().await;
        shared.append(10);
        within(reader).await.unwrap().unwrap();
    }
    let waiting = shared.begin(shared.fetch(500));
    shared.settle().await;
    let (mut next, mut rounds) = (0, 0);
    while next < 500 {
        let fetch = Fetch { max_bytes: 4_000, ..shared.fetch(next) };
        let (base, end) = bounds(&batches(within(shared.tail.fetch(fetch)).await));
        assert_eq!(base, next);
        next = end;
        rounds += 1;
    }
    let asked = shared.fetches() - 51;
    assert!(0 < asked && asked < rounds, "{asked} of {rounds} were pulled, the others shared");
    let laggard = shared.begin(shared.fetch(500));
    shared.settle().await;
    shared.fake.until(shared.partition, |log| log.fetching == 1).await;
    shared.append(10);
    for reader in [waiting, laggard] {
        assert_eq!(bounds(&batches(within(reader).await.unwrap())), (500, 510));
    }
    shared.forgets_all().await;
}

#[tokio::test(start_paused = true)]
async fn everyone_gets_as_much_as_they_asked_for() {
    let shared = Shared::start().await;
    let batch_bytes = harness::batch_of(10).len();
    let sizes = [1, batch_bytes, 2 * batch_bytes, 5 * batch_bytes + 1, 64 * 1024];
    let readers = sizes.map(|max_bytes| shared.begin(Fetch { max_bytes, ..shared.fetch(0) }));
    shared.settle().await;
    shared.fake.change(shared.partition, |log| (0..10).for_each(|_| log.append(10)));
    for (reader, expected) in readers.into_iter().zip([1, 1, 2, 5, 10]) {
        let batches = batches(within(reader).await.unwrap());
        assert_eq!(batches.len(), expected);
        assert_eq!(bounds(&batches), (0, expected as u64 * 10));
    }
    assert_eq!(shared.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_is_kept_from_those_who_read_committed_records() {
    let shared = Shared::start().await;
    let committed = |from| Fetch { isolation: Isolation::ReadCommitted, ..shared.fetch(from) };
    shared.fake.change(shared.partition, |log| log.last_stable = Some(Offset(0)));
    let (all, stable) = (shared.begin(shared.fetch(0)), shared.begin(committed(0)));
    shared.settle().await;
    shared.fake.change(shared.partition, |log| (0..3).for_each(|_| log.append(10)));
    assert_eq!(bounds(&batches(within(all).await.unwrap())), (0, 30));
    shared.settle().await;
    assert!(!stable.is_finished());
    shared.fake.change(shared.partition, |log| log.last_stable = Some(Offset(20)));
    assert_eq!(bounds(&batches(within(stable).await.unwrap())), (0, 20));
    // From memory, and no further.
    let asked = shared.fetches();
    assert_eq!(bounds(&batches(within(shared.tail.fetch(committed(5))).await)), (0, 20));
    assert_eq!(shared.fetches(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_flight_lasts_as_long_as_somebody_waits_for_it() {
    let shared = Shared::start().await;
    let mut readers: Vec<_> = (0..10).map(|_| shared.begin(shared.fetch(0))).collect();
    shared.settle().await;
    for reader in readers.drain(..9) {
        reader.abort();
    }
    shared.settle().await;
    shared.fake.until(shared.partition, |log| log.fetching == 1).await;
    readers[0].abort();
    shared.settle().await;
    shared.fake.until(shared.partition, |log| log.fetching == 0).await;
    assert_eq!(shared.metric("frontend_tail_partitions"), 0, "nothing is left, at once");
    // A fetch that is dropped before it was ever polled leaves nothing either.
    drop(shared.tail.fetch(shared.fetch(0)));
    assert_eq!(shared.metric("frontend_tail_partitions"), 0);
}

#[tokio::test(start_paused = true)]
async fn each_waits_as_long_as_it_wants() {
    let shared = Shared::start().await;
    let waits = [5, 1, 60].map(|seconds| Some(Duration::from_secs(seconds)));
    let mut readers = Vec::new();
    for max_wait in waits {
        readers.push(shared.begin(Fetch { max_wait, ..shared.fetch(0) }));
        shared.settle().await;
    }
    let begun = tokio::time::Instant::now();
    for (reader, seconds) in readers.drain(..2).rev().zip([1, 5]) {
        assert!(matches!(reader.await.unwrap(), Ok(Fetched::Nothing { .. })));
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
    tokio::time::advance(Duration::from_secs(30)).await;
    shared.settle().await;
    shared.append(10);
    assert_eq!(bounds(&batches(within(readers.remove(0)).await.unwrap())), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_all_who_wait_and_is_not_kept() {
    let shared = Shared::start().await;
    let readers: Vec<_> = (0..10).map(|_| shared.begin(shared.fetch(0))).collect();
    shared.settle().await;
    shared.fake.change(shared.partition, |log| log.refusal = Some(ErrorCode::NotLeaderOrFollower));
    for answer in within(join_all(readers)).await {
        assert_eq!(answer.unwrap().unwrap_err().code, ErrorCode::NotLeaderOrFollower);
    }
    assert_eq!(shared.fetches(), 1);
    shared.fake.change(shared.partition, |log| log.refusal = None);
    shared.append(10);
    assert_eq!(bounds(&batches(within(shared.tail.fetch(shared.fetch(0))).await)), (0, 10));
}

/// Reads a few batches at the tail, then calls for a change of the log, and returns what is read then.
async fn after(change: impl FnOnce(&Shared, &mut harness::Log)) -> (Vec<Bytes>, Vec<Bytes>) {
    let shared = Shared::start().await;
    for round in 0..3 {
        let reader = shared.begin(shared.fetch(round * 10));
        shared.settle().await;
        shared.append(10);
        within(reader).await.unwrap().unwrap();
    }
    let waiting = shared.begin(shared.fetch(30));
    shared.settle().await;
    shared.fake.change(shared.partition, |log| change(&shared, log));
    let _ = within(waiting).await.unwrap();
    shared.fake.change(shared.partition, |log| log.refusal = None);
    let now = shared.fake.change(shared.partition, |log| log.batches.clone());
    // Somebody follows again, and tells where the end is.
    let end = Fetch { max_wait: None, ..shared.fetch(bounds(&now).1) };
    let following = shared.begin(shared.fetch(bounds(&now).1));
    shared.settle().await;
    within(shared.tail.fetch(end)).await.unwrap();
    following.abort();
    (batches(within(shared.tail.fetch(shared.fetch(10))).await), now[1..].to_vec())
}

/// Another leader's batches from `offset` on.
fn rewrite(log: &mut harness::Log, keep: usize, records: &[usize]) {
    log.batches.truncate(keep);
    for count in records {
        let mut bytes = harness::batch_of(*count);
        let end = log.end();
        batch::assign(&mut bytes, end, LeaderEpoch(2));
        log.batches.push(bytes.freeze());
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_were_taken_back_are_not_served() {
    let (found, there) = after(|_, log| {
        rewrite(log, 1, &[4, 3]);
        log.refusal = Some(ErrorCode::NotLeaderOrFollower);
    })
    .await;
    assert_eq!(found, there, "after an error");
    let (found, there) = after(|_, log| rewrite(log, 2, &[15])).await;
    assert_eq!(found, there, "when batches have other bounds");
    let (found, there) = after(|_, log| rewrite(log, 1, &[20, 10])).await;
    assert_eq!(found, there, "when nothing but the leader tells that they are others");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_nothing_of_the_records() {
    let shared = Shared::start().await;
    let reader = shared.begin(shared.fetch(0));
    shared.settle().await;
    shared.append(10);
    within(reader).await.unwrap().unwrap();
    let waiting = shared.begin(shared.fetch(10));
    shared.settle().await;
    shared.fake.change(shared.partition, |log| log.refusal = Some(ErrorCode::RequestTimedOut));
    within(waiting).await.unwrap().unwrap_err();
    assert_eq!(bounds(&batches(within(shared.tail.fetch(shared.fetch(0))).await)), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_goes_back_empties_the_ring() {
    let shared = Shared::start().await;
    let reader = shared.begin(shared.fetch(0));
    shared.settle().await;
    shared.append(10);
    within(reader).await.unwrap().unwrap();
    assert!(shared.metric("frontend_tail_held_bytes") > 0);
    shared.fake.change(shared.partition, |log| log.heard = Some(Offset(5)));
    let answer = within(shared.tail.fetch(Fetch { max_wait: None, ..shared.fetch(10) })).await.unwrap();
    assert_eq!(answer.marks().high_watermark, Offset(10), "readers see it grow only");
    assert_eq!(shared.metric("frontend_tail_held_bytes"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_for_each_partition_and_for_all() {
    let options = TailOptions { partition_bytes: 30_000, total_bytes: 50_000, keep: Duration::from_secs(5) };
    let shared = Shared::with(options).await;
    for round in 0..40_u64 {
        for number in 0..4 {
            let partition = TopicPartition::new(shared.partition.topic, PartitionId(number));
            // Sometimes one that is larger than a ring.
            let records = if round % 7 == 0 { 400 } else { 10 + number as usize };
            let from = shared.fake.change(partition, |log| log.end());
            let reader = shared.begin(Fetch { partition, from, ..shared.fetch(0) });
            shared.settle().await;
            shared.fake.change(partition, |log| log.append(records));
            within(reader).await.unwrap().unwrap();
            let held = shared.metric("frontend_tail_held_bytes");
            assert!(held <= 50_000, "{held}");
            assert!(round > 0 || number > 0 || held <= 30_000, "{held}");
        }
    }
    shared.forgets_all().await;
}

/// What happens to a log that is followed.
#[derive(Clone, Copy, Debug)]
enum Event {
    Append(usize),
    Stable,
    Tier,
    Evict,
    /// The partition moves: everyone who asks meanwhile is told so.
    Move,
    Age,
}

/// How one reader reads.
#[derive(Clone, Copy, Debug)]
struct Habit {
    committed: bool,
    waits: bool,
    max_bytes: usize,
    /// How slow it is.
    pauses: usize,
    /// Gives up a fetch now and then, to ask again.
    impatient: bool,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_usize..30).prop_map(Event::Append),
        2 => Just(Event::Stable),
        1 => Just(Event::Tier),
        1 => Just(Event::Evict),
        1 => Just(Event::Move),
        1 => Just(Event::Age),
    ]
}

fn habit() -> impl Strategy<Value = Habit> {
    let parts = (any::<bool>(), any::<bool>(), 1_usize..20_000, 0_usize..40, any::<bool>());
    parts.prop_map(|(committed, waits, max_bytes, pauses, impatient)| Habit {
        committed,
        waits,
        max_bytes,
        pauses,
        impatient,
    })
}

async fn pause(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// Reads up to `end`, which comes when the log is complete, and returns what it saw.
async fn read(
    shared: Arc<Shared>,
    habit: Habit,
    mut end: tokio::sync::watch::Receiver<Option<u64>>,
) -> Vec<Bytes> {
    let isolation = if habit.committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let (mut seen, mut next, mut told) = (Vec::new(), 0, Offset::ZERO);
    let mut turn = 0_usize;
    while end.borrow_and_update().is_none_or(|end| next < end) {
        pause(habit.pauses).await;
        turn += 1;
        let max_wait = (habit.waits || turn.is_multiple_of(3)).then_some(WAIT);
        let fetch = Fetch { max_bytes: habit.max_bytes, max_wait, isolation, ..shared.fetch(next) };
        let answer = tokio::select! {
            biased;
            answer = shared.tail.fetch(fetch) => answer,
            () = pause(7), if habit.impatient && turn.is_multiple_of(2) => continue,
            _ = end.changed() => continue,
        };
        let Ok(answer) = answer else {
            pause(3).await;
            continue;
        };
        let mut found = match answer {
            Fetched::Batches { batches, marks } => {
                assert!(bounds(&batches).1 <= marks.visible_end(isolation).0);
                assert!(
                    batches.len() == 1 || batches.iter().map(Bytes::len).sum::<usize>() <= habit.max_bytes
                );
                assert!(marks.high_watermark >= told || shared.metric("frontend_tail_partitions") == 0);
                told = marks.high_watermark;
                batches
            }
            Fetched::Tiered { pointer, .. } => shared.fake.change(shared.partition, |log| {
                let header = |bytes: &Bytes| batch::header(bytes).unwrap();
                let cold = log.batches.iter().filter(|bytes| header(bytes).next_offset().0 > next);
                cold.take_while(|bytes| header(bytes).base_offset < pointer.tiered_end).cloned().collect()
            }),
            Fetched::Nothing { .. } => {
                pause(1).await;
                continue;
            }
        };
        assert_eq!(bounds(&found).0, next, "in order, without a gap");
        next = bounds(&found).1;
        seen.append(&mut found);
    }
    seen
}

fn apply(shared: &Shared, event: Event) {
    shared.fake.change(shared.partition, |log| match event {
        Event::Append(records) => {
            if log.last_stable.is_none() {
                log.last_stable = Some(log.end());
            }
            log.append(records);
        }
        Event::Stable => log.last_stable = Some(log.end()),
        Event::Tier => log.tiered_end = log.last_stable.unwrap_or_default(),
        Event::Evict => log.local_start = log.tiered_end,
        Event::Move => log.refusal = Some(ErrorCode::NotLeaderOrFollower),
        Event::Age => {}
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_reader_sees_exactly_the_committed_records(
        events in prop::collection::vec((event(), 0_usize..30), 1..60),
        habits in prop::collection::vec(habit(), 1..6),
        partition_bytes in 500_usize..20_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let options = TailOptions { partition_bytes, ..TailOptions::default() };
            let shared = Arc::new(Shared::with(options).await);
            let (complete, end) = tokio::sync::watch::channel(None);
            let readers: Vec<_> =
                habits.iter().map(|habit| tokio::spawn(read(shared.clone(), *habit, end.clone()))).collect();
            for (event, pauses) in events {
                apply(&shared, event);
                pause(pauses).await;
                match event {
                    Event::Move => shared.fake.change(shared.partition, |log| log.refusal = None),
                    Event::Age => tokio::time::advance(Duration::from_secs(3)).await,
                    _ => {}
                }
            }
            apply(&shared, Event::Stable);
            let log = shared.fake.change(shared.partition, |log| log.batches.clone());
            complete.send_replace(Some(log.last().map_or(0, |last| bounds(std::slice::from_ref(last)).1)));
            for (reader, habit) in readers.into_iter().zip(habits) {
                assert_eq!(within(reader).await.unwrap(), log, "{habit:?}");
            }
            shared.forgets_all().await;
        });
    }
}
