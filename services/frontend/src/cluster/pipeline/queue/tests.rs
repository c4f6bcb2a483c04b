use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tidelog_format::batch::{BatchBuilder, BatchOptions};
use tidelog_model::{Offset, Sequence, TimestampMs};
use tidelog_peer::Ack;

use super::*;

/// A queue with who waits for each of its batches. What a batch occupies is counted by the `Arc`.
#[derive(Default)]
struct Bench {
    queue: Queue<Arc<()>>,
    acks: Vec<Option<Ack>>,
    room: Arc<()>,
}

/// A batch of this producer; none, if it is negative.
fn batch(producer: i64) -> Bytes {
    let stamp = (ProducerId(producer), ProducerEpoch(0), Sequence(0));
    let producer = (producer >= 0).then_some(stamp);
    let options = BatchOptions { producer, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.push(TimestampMs(1), None, Some(b"v"), &[]).unwrap();
    builder.finish().freeze()
}

fn produced(offset: u64) -> Produced {
    Produced { base_offset: Offset(offset), append_time: None, log_start: Offset(0) }
}

impl Bench {
    /// Batches of these producers, numbered from 0.
    fn of(producers: &[i64]) -> Self {
        let mut bench = Self::default();
        for producer in producers {
            let (sender, ack) = Ack::pending();
            bench.queue.push(batch(*producer), sender, Arc::clone(&bench.room));
            bench.acks.push(Some(ack));
        }
        bench
    }

    /// The same, all in flight.
    fn sent(producers: &[i64]) -> Self {
        let mut bench = Self::of(producers);
        bench.send();
        bench
    }

    /// Sends what is not in flight.
    fn send(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.queue.next()).map(|(number, _)| number).collect()
    }

    fn refuse(&mut self, number: u64, code: ErrorCode) -> Outcome {
        self.queue.answered(number, Err(code.into()))
    }

    /// What was said to who waits, if anything was.
    fn told(&mut self, number: usize) -> Option<Result<Offset, ErrorCode>> {
        let ack = self.acks[number].as_mut().expect("somebody waits");
        let answer = std::pin::Pin::new(ack).poll(&mut Context::from_waker(Waker::noop()));
        match answer {
            Poll::Ready(answer) => {
                self.acks[number] = None;
                Some(answer.map(|produced| produced.base_offset).map_err(|error| error.code))
            }
            Poll::Pending => None,
        }
    }

    fn held(&self) -> usize {
        Arc::strong_count(&self.room) - 1
    }
}

#[test]
fn what_a_store_did_not_take_is_sent_again_in_order() {
    let mut bench = Bench::sent(&[-1, 1, -1, 2]);
    for number in 0..4 {
        assert!(matches!(bench.refuse(number, ErrorCode::NotLeaderOrFollower), Outcome::Trouble(_)));
    }
    assert_eq!(bench.queue.in_flight(), 0);
    assert_eq!(bench.send(), [0, 1, 2, 3]);
    for number in 0..4 {
        assert_eq!(bench.queue.answered(number, Ok(produced(number))), Outcome::Settled);
        assert_eq!(bench.told(number as usize), Some(Ok(Offset(number))));
    }
    assert!(bench.queue.is_empty());
    assert_eq!(bench.held(), 0);
}

#[test]
fn an_unknown_outcome_is_told_unless_a_repetition_would_be_recognised() {
    let mut bench = Bench::sent(&[-1, 1]);
    for number in 0..2 {
        assert!(matches!(bench.refuse(number, ErrorCode::RequestTimedOut), Outcome::Trouble(_)));
    }
    assert_eq!(bench.told(0), Some(Err(ErrorCode::RequestTimedOut)));
    assert_eq!(bench.told(1), None);
    assert_eq!(bench.send(), [1]);
}

#[test]
fn a_gap_behind_a_batch_that_is_sent_again_is_none() {
    let mut bench = Bench::sent(&[1, 2, 1]);
    bench.refuse(0, ErrorCode::NotLeaderOrFollower);
    bench.queue.answered(1, Ok(produced(0)));
    assert!(matches!(bench.refuse(2, ErrorCode::OutOfOrderSequence), Outcome::Trouble(_)));
    assert_eq!(bench.send(), [0, 2]);
}

#[test]
fn a_gap_of_the_producers_own_is_told() {
    let mut bench = Bench::sent(&[1, 2]);
    bench.refuse(0, ErrorCode::MessageTooLarge);
    assert_eq!(bench.refuse(1, ErrorCode::OutOfOrderSequence), Outcome::Settled);
    assert_eq!(bench.told(0), Some(Err(ErrorCode::MessageTooLarge)));
    assert_eq!(bench.told(1), Some(Err(ErrorCode::OutOfOrderSequence)));
}

#[test]
fn a_refusal_is_not_told_as_harmless_after_an_attempt_of_unknown_outcome() {
    let mut bench = Bench::sent(&[1, 1]);
    bench.refuse(0, ErrorCode::RequestTimedOut);
    bench.refuse(1, ErrorCode::RequestTimedOut);
    bench.send();
    // It may be tried again: nobody has to be told.
    assert!(matches!(bench.refuse(0, ErrorCode::ThrottlingQuotaExceeded), Outcome::Trouble(_)));
    bench.queue.answered(1, Ok(produced(1)));
    assert_eq!(bench.send(), [0]);
    bench.refuse(0, ErrorCode::InvalidProducerEpoch);
    assert_eq!(bench.told(0), Some(Err(ErrorCode::RequestTimedOut)));
}

#[test]
fn answers_that_are_given_up_leave_the_same_as_a_lost_connection() {
    let mut bench = Bench::sent(&[-1, 1, -1]);
    bench.refuse(2, ErrorCode::BrokerNotAvailable);
    bench.queue.abandon(|| "replaced".to_owned());
    assert_eq!(bench.queue.in_flight(), 0);
    assert_eq!(bench.told(0), Some(Err(ErrorCode::RequestTimedOut)));
    assert_eq!(bench.send(), [1, 2]);
}

#[test]
fn an_answer_to_what_is_not_in_flight_changes_nothing() {
    let mut bench = Bench::sent(&[1]);
    bench.refuse(0, ErrorCode::NotLeaderOrFollower);
    assert_eq!(bench.queue.answered(0, Ok(produced(3))), Outcome::Settled);
    assert_eq!(bench.queue.answered(9, Ok(produced(3))), Outcome::Settled);
    assert_eq!((bench.told(0), bench.queue.len()), (None, 1));
}

#[test]
fn what_nobody_waits_for_goes_unless_something_awaited_needs_it() {
    let mut bench = Bench::of(&[1, 2, -1, 1]);
    for gone in 0..3 {
        bench.acks[gone] = None;
    }
    bench.queue.forget_dropped();
    assert_eq!(bench.held(), 2);
    assert_eq!(bench.send(), [0, 3]);
    bench.acks[3] = None;
    bench.queue.forget_dropped();
    assert_eq!(bench.held(), 2, "what is in flight is waited for");
    bench.refuse(0, ErrorCode::NotLeaderOrFollower);
    bench.refuse(3, ErrorCode::NotLeaderOrFollower);
    bench.queue.forget_dropped();
    assert_eq!(bench.held(), 0);
}

#[test]
fn a_batch_that_did_not_leave_is_the_next_one_again() {
    let mut bench = Bench::of(&[1, 1]);
    let (number, _) = bench.queue.next().unwrap();
    bench.queue.unsend(number);
    assert_eq!(bench.send(), [0, 1]);
}

#[test]
fn a_deleted_topics_batches_are_refused() {
    let mut bench = Bench::of(&[1, -1]);
    bench.queue.refuse_all(&ErrorCode::UnknownTopicOrPartition.into());
    assert!(bench.queue.is_empty());
    assert_eq!(bench.told(1), Some(Err(ErrorCode::UnknownTopicOrPartition)));
}
