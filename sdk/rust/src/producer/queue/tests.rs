//! The queue against a server that is as strict as the real one, and as unreliable as the world.

mod world;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidelog_format::batch::{Batch, header};
use tidelog_model::limits::PRODUCER_BATCHES_REMEMBERED;
use tidelog_model::{ErrorCode, Offset};
use tidelog_proto::v1;

use super::*;
use crate::producer::ticket::Acked;
use world::{Fault, Op, World};

const IDENTITY: Identity = Identity { id: ProducerId(7), epoch: ProducerEpoch(0) };
const OTHER: Identity = Identity { id: ProducerId(8), epoch: ProducerEpoch(0) };

fn rules() -> Rules {
    Rules {
        batch_bytes: 1024,
        linger: Duration::from_millis(5),
        delivery_timeout: Duration::from_secs(100),
        max_in_flight: PRODUCER_BATCHES_REMEMBERED,
        compression: Compression::None,
    }
}

fn refusal(code: ErrorCode) -> Error {
    v1::Error {
        code: code as u32,
        retryable: code.is_retryable(),
        no_side_effects: code.has_no_side_effects(),
        ..v1::Error::default()
    }
    .into()
}

fn acked(base: u64) -> Acked {
    Acked { base_offset: Offset(base), append_time: None }
}

/// A queue, with a clock that only moves when told to.
struct Bench {
    queue: PartitionQueue,
    now: Instant,
}

impl Bench {
    fn new(identity: Option<Identity>) -> Self {
        Self { queue: PartitionQueue::new(rules(), identity), now: Instant::now() }
    }

    fn push(&mut self, value: &[u8]) -> (Arc<BatchState>, u32, bool) {
        let content = Content::new(TimestampMs(1), None, Some(value), &[]);
        self.queue.push(&content, value.len(), || self.now, BytesMut::with_capacity).unwrap()
    }

    /// A batch of one record that is due at once.
    fn batch(&mut self) {
        self.push(b"value");
        self.queue.seal();
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn send(&mut self) -> Option<(u64, Bytes)> {
        match self.queue.next(self.now, false) {
            Next::Send(departure) => {
                let bytes = departure.work.run();
                self.queue.departed(departure.number, bytes.clone());
                Some((departure.number, bytes))
            }
            Next::Nothing | Next::NeedsIdentity(_) => None,
        }
    }

    /// Sends one batch, which must be there, and returns its number and its first sequence.
    fn sent(&mut self) -> (u64, i32) {
        let (number, bytes) = self.send().expect("a batch is due");
        (number, header(&bytes).unwrap().base_sequence.0)
    }

    fn answer(&mut self, number: u64, answer: Result<Acked, Error>) -> Option<Settled> {
        self.queue.answered(number, answer, self.now)
    }

    fn refuse(&mut self, number: u64, code: ErrorCode) -> Option<Settled> {
        self.answer(number, Err(refusal(code)))
    }
}

#[test]
fn a_batch_is_due_when_it_is_full_or_has_lingered() {
    let mut bench = Bench::new(Some(IDENTITY));
    assert!(bench.push(b"first").2);
    assert!(!bench.push(b"second").2);
    assert!(bench.send().is_none());
    bench.wait(5);
    let (_, bytes) = bench.send().unwrap();
    assert_eq!(header(&bytes).unwrap().record_count, 2);

    let value = [0; 400];
    bench.push(&value);
    let (state, place, changed) = bench.push(&value);
    assert!(changed && place == 1);
    let (_, bytes) = bench.send().unwrap();
    assert!(bytes.len() <= rules().batch_bytes);
    assert!(!Arc::ptr_eq(&state, &bench.push(&value).0));
}

#[test]
fn a_lingering_batch_gathers_on_while_an_answer_is_outstanding() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.push(b"1");
    bench.wait(5);
    let (number, _) = bench.sent();
    bench.push(b"2");
    bench.wait(5);
    assert!(bench.send().is_none());
    bench.push(b"3");
    bench.answer(number, Ok(acked(0)));
    let (_, bytes) = bench.send().unwrap();
    assert_eq!(header(&bytes).unwrap().record_count, 2);
    bench.batch();
    assert!(bench.send().is_some(), "what was flushed does not wait");
}

#[test]
fn without_linger_a_batch_holds_what_came_while_nothing_could_be_sent() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.queue.rules.linger = Duration::ZERO;
    bench.queue.rules.max_in_flight = 1;
    bench.push(b"1");
    let (number, _) = bench.sent();
    bench.push(b"2");
    bench.push(b"3");
    assert!(bench.send().is_none());
    bench.answer(number, Ok(acked(0)));
    let (_, bytes) = bench.send().unwrap();
    assert_eq!(header(&bytes).unwrap().record_count, 2);
}

#[test]
fn a_record_larger_than_a_batch_goes_alone() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.push(b"small");
    bench.push(&[0; 5000]);
    bench.push(b"small");
    bench.queue.seal();
    let counts: Vec<_> =
        std::iter::from_fn(|| bench.send()).map(|(_, b)| header(&b).unwrap().record_count).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_record_that_cannot_be_encoded_leaves_no_empty_batch() {
    let mut bench = Bench::new(Some(IDENTITY));
    let huge = vec![0; tidelog_model::limits::BATCH_BYTES_MAX];
    let content = Content::new(TimestampMs(1), None, Some(&huge), &[]);
    assert!(bench.queue.push(&content, 0, || bench.now, BytesMut::with_capacity).is_err());
    bench.wait(1000);
    assert!(bench.send().is_none());
    bench.batch();
    assert_eq!(bench.sent().1, 0);
}

#[test]
fn no_more_batches_are_in_flight_than_the_server_remembers() {
    let mut bench = Bench::new(Some(IDENTITY));
    for _ in 0..8 {
        bench.batch();
    }
    let numbers: Vec<_> = std::iter::from_fn(|| bench.send()).map(|(number, _)| number).collect();
    assert_eq!(numbers.len(), PRODUCER_BATCHES_REMEMBERED);
    assert!(bench.answer(numbers[0], Ok(acked(0))).is_some());
    assert!(bench.send().is_some() && bench.send().is_none());
}

#[test]
fn after_a_lost_connection_the_same_sequences_go_again_in_order() {
    let mut bench = Bench::new(Some(IDENTITY));
    for _ in 0..3 {
        bench.batch();
    }
    let first: Vec<_> = std::iter::from_fn(|| bench.send()).collect();
    assert!(bench.queue.disconnected(&Error::Closed("connection")).is_empty());
    bench.batch();
    let again: Vec<_> = std::iter::from_fn(|| bench.send()).collect();
    assert_eq!(again[..3], first[..]);
    assert_eq!(header(&again[3].1).unwrap().base_sequence.0, 3);
}

#[test]
fn without_idempotence_an_unknown_outcome_is_reported_and_never_sent_again() {
    let mut bench = Bench::new(None);
    bench.batch();
    bench.batch();
    assert_eq!(bench.sent().1, -1);
    let settled = bench.queue.disconnected(&Error::BufferFull);
    assert!(matches!(&settled[..], [Settled { outcome: Err(Error::OutcomeUnknown(_)), .. }]));
    let (number, _) = bench.sent();
    let settled = bench.refuse(number, ErrorCode::RequestTimedOut).unwrap();
    assert!(!settled.outcome.unwrap_err().has_no_side_effects());
    assert!(bench.send().is_none());
}

#[test]
fn without_idempotence_a_refusal_that_changed_nothing_is_tried_again() {
    let mut bench = Bench::new(None);
    bench.batch();
    let (number, _) = bench.sent();
    assert!(bench.refuse(number, ErrorCode::ThrottlingQuotaExceeded).is_none());
    bench.wait(1000);
    assert_eq!(bench.sent().0, number);
}

#[test]
fn a_refused_batch_goes_first_once_those_behind_it_were_refused_too() {
    let mut bench = Bench::new(Some(IDENTITY));
    for _ in 0..3 {
        bench.batch();
    }
    let [(a, _), (b, _), (c, _)] = [bench.sent(), bench.sent(), bench.sent()];
    bench.batch();
    assert!(bench.refuse(a, ErrorCode::StorageFull).is_none());
    bench.wait(1000);
    assert!(bench.send().is_none(), "b and c are on their way");
    assert!(bench.refuse(b, ErrorCode::OutOfOrderSequence).is_none());
    assert!(bench.refuse(c, ErrorCode::OutOfOrderSequence).is_none());
    bench.wait(1000);
    assert_eq!([bench.sent(), bench.sent(), bench.sent()], [(a, 0), (b, 1), (c, 2)]);
    assert_eq!(bench.sent().1, 3);
}

#[test]
fn refusals_are_followed_by_growing_pauses_and_by_what_the_server_asks() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    let (number, _) = bench.sent();
    bench.refuse(number, ErrorCode::StorageFull);
    assert!(bench.send().is_none());
    bench.wait(20);
    bench.sent();
    bench.refuse(number, ErrorCode::StorageFull);
    bench.wait(20);
    assert!(bench.send().is_none());
    bench.wait(20);
    bench.sent();
    let asks = v1::Error {
        code: 89,
        retryable: true,
        no_side_effects: true,
        retry_after_ms: 500,
        ..v1::Error::default()
    };
    bench.answer(number, Err(asks.into()));
    bench.wait(499);
    assert!(bench.send().is_none());
    bench.wait(1);
    bench.sent();
}

#[test]
fn behind_a_batch_that_certainly_failed_the_others_move_up() {
    let mut bench = Bench::new(Some(IDENTITY));
    for _ in 0..3 {
        bench.batch();
    }
    let [(a, _), (b, _), (c, _)] = [bench.sent(), bench.sent(), bench.sent()];
    let failed = bench.refuse(a, ErrorCode::InvalidTimestamp).unwrap();
    assert!(failed.outcome.unwrap_err().has_no_side_effects());
    assert!(bench.refuse(b, ErrorCode::OutOfOrderSequence).is_none());
    assert!(bench.refuse(c, ErrorCode::OutOfOrderSequence).is_none());
    bench.wait(1000);
    assert_eq!([bench.sent(), bench.sent()], [(b, 0), (c, 1)]);
    assert!(bench.answer(b, Ok(acked(0))).is_some());
    assert!(bench.answer(c, Ok(acked(1))).is_some());
}

#[test]
fn behind_a_batch_of_unknown_outcome_a_gap_leads_to_another_identity() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.batch();
    let [(a, _), (b, _)] = [bench.sent(), bench.sent()];
    let failed = bench.refuse(a, ErrorCode::Internal).unwrap();
    assert!(!failed.outcome.unwrap_err().has_no_side_effects());
    assert!(bench.refuse(b, ErrorCode::OutOfOrderSequence).is_none());
    bench.wait(1000);
    assert!(matches!(bench.queue.next(bench.now, false), Next::NeedsIdentity(IDENTITY)));
    assert!(bench.queue.adopt(OTHER).is_empty());
    let (number, bytes) = bench.send().unwrap();
    let header = Batch::parse(bytes).map(|batch| batch.verify().map(|()| batch.header())).unwrap().unwrap();
    assert_eq!((number, header.producer_id, header.base_sequence), (b, OTHER.id, Sequence(0)));
}

#[test]
fn behind_a_batch_of_unknown_outcome_that_was_stored_nothing_changes() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.batch();
    let [(a, _), (b, _)] = [bench.sent(), bench.sent()];
    assert!(bench.refuse(a, ErrorCode::Internal).is_some());
    assert!(bench.answer(b, Ok(acked(1))).is_some());
    bench.batch();
    assert_eq!(bench.sent().1, 2);
}

#[test]
fn a_gap_that_nothing_explains_fails_its_batch() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.batch();
    let [(a, _), (b, _)] = [bench.sent(), bench.sent()];
    let failed = bench.refuse(a, ErrorCode::OutOfOrderSequence).unwrap();
    assert_eq!(failed.outcome.unwrap_err().code(), Some(ErrorCode::OutOfOrderSequence));
    assert!(bench.send().is_none());
    assert!(bench.refuse(b, ErrorCode::OutOfOrderSequence).is_none());
    bench.wait(1000);
    assert!(bench.queue.adopt(OTHER).is_empty());
    assert_eq!(bench.sent(), (b, 0));
}

#[test]
fn what_may_be_stored_is_never_sent_under_another_identity() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.batch();
    let [(a, _), _] = [bench.sent(), bench.sent()];
    bench.queue.disconnected(&Error::Closed("connection"));
    let [(again, _), (b, _)] = [bench.sent(), bench.sent()];
    assert_eq!(again, a);
    let failed = bench.refuse(a, ErrorCode::UnknownProducerId).unwrap();
    assert!(matches!(failed.outcome, Err(Error::OutcomeUnknown(_))));
    assert!(bench.refuse(b, ErrorCode::UnknownProducerId).is_some());
    bench.batch();
    bench.wait(1000);
    bench.queue.adopt(OTHER);
    assert_eq!(bench.sent().1, 0);
}

#[test]
fn a_server_that_forgot_the_producer_gets_a_new_one() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    let (number, _) = bench.sent();
    bench.answer(number, Ok(acked(0)));
    bench.batch();
    let (number, first) = bench.sent();
    assert_eq!(first, 1);
    assert!(bench.refuse(number, ErrorCode::UnknownProducerId).is_none());
    bench.wait(1000);
    assert!(bench.queue.adopt(OTHER).is_empty());
    assert_eq!(bench.sent(), (number, 0));
}

#[test]
fn what_waits_too_long_fails_and_says_whether_it_may_be_stored() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.batch();
    bench.sent();
    bench.queue.disconnected(&Error::Closed("connection"));
    bench.wait(99_999);
    bench.batch();
    assert!(bench.queue.expire(bench.now).settled.is_empty());
    bench.wait(1);
    let overdue = bench.queue.expire(bench.now);
    let errors: Vec<_> = overdue.settled.into_iter().map(|s| s.outcome.unwrap_err()).collect();
    assert!(matches!(errors[0], Error::OutcomeUnknown(_)));
    assert!(matches!(errors[1], Error::TimedOut { .. }) && errors[1].has_no_side_effects());
    assert_eq!(errors.len(), 2);
    assert!(errors[1].to_string().contains("100 s: the connection is closed"));
}

#[test]
fn a_server_that_never_answers_costs_the_session() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.sent();
    bench.wait(105_000);
    let overdue = bench.queue.expire(bench.now);
    assert!(overdue.settled.is_empty() && !overdue.unanswered);
    bench.wait(5_000);
    assert!(bench.queue.expire(bench.now).unanswered);
}

#[test]
fn closing_leaves_nothing_without_an_outcome() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.batch();
    bench.sent();
    bench.push(b"open");
    let settled = bench.queue.abandon(&Error::Closed("producer"));
    assert!(matches!(settled[0].outcome, Err(Error::OutcomeUnknown(_))));
    assert!(matches!(settled[1].outcome, Err(Error::Closed(_))));
    assert!(bench.send().is_none());
}

#[test]
fn sequences_wrap_like_kafkas() {
    let mut bench = Bench::new(Some(IDENTITY));
    bench.queue.next_sequence = Sequence(i32::MAX);
    bench.batch();
    bench.batch();
    assert_eq!((bench.sent().1, bench.sent().1), (i32::MAX, 0));
}

fn op() -> impl Strategy<Value = Op> {
    let fault = prop_oneof![
        12 => Just(Fault::None),
        2 => Just(Fault::Refuse(ErrorCode::ThrottlingQuotaExceeded)),
        1 => Just(Fault::Refuse(ErrorCode::MessageTooLarge)),
        1 => Just(Fault::Lose(ErrorCode::StorageError)),
        1 => Just(Fault::StoreAndSay(ErrorCode::RequestTimedOut)),
        1 => Just(Fault::Lose(ErrorCode::Internal)),
        1 => Just(Fault::StoreAndSay(ErrorCode::Internal)),
    ];
    prop_oneof![
        4 => (1_usize..4).prop_map(Op::Push),
        6 => Just(Op::Send),
        6 => fault.prop_map(Op::Arrive),
        6 => Just(Op::Answer),
        1 => (0_usize..6).prop_map(Op::Disconnect),
        2 => Just(Op::Wait),
        1 => Just(Op::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever goes wrong in between: what is acknowledged is stored, once and in order; what is said
    /// to have failed without effect is not; and nothing is left without an outcome.
    #[test]
    fn acknowledged_records_are_stored_once_and_in_order(ops in proptest::collection::vec(op(), 0..120)) {
        let mut world = World::new(rules());
        for op in ops {
            world.step(op);
        }
        world.settle_everything();
        world.check();
    }
}
