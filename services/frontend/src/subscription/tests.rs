use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_model::{LeaderEpoch, Offset, TimestampMs};

use super::run::{Piece, Position, RunError, cut};

/// A batch of so many records.
fn batch_at(base: u64, records: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.push(TimestampMs(1), None, Some(b"a record's value"), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    batch::assign(&mut bytes, Offset(base), LeaderEpoch(1));
    bytes
}

/// Batches of these sizes, one after the other from an offset on.
fn run_of(mut base: u64, sizes: &[usize]) -> (Bytes, u64) {
    let mut run = BytesMut::new();
    for records in sizes {
        run.extend_from_slice(&batch_at(base, *records));
        base += *records as u64;
    }
    (run.freeze(), base)
}

fn position(next: u64) -> Position {
    Position { next: Offset(next), stop: None }
}

#[test]
fn what_was_sent_is_not_sent_again() {
    let (run, end) = run_of(10, &[5, 5, 5]);
    let mut at = position(20);
    let pieces = cut(&run, &mut at, 1 << 20).unwrap();
    assert_eq!(pieces, [Piece { bytes: run.slice(run.len() / 3 * 2..), next: Offset(end) }]);
    assert_eq!(cut(&run, &mut at, 1 << 20).unwrap(), []);
}

#[test]
fn a_position_inside_a_batch_gets_the_whole_batch() {
    let (run, end) = run_of(10, &[5, 5]);
    let mut at = position(17);
    let pieces = cut(&run, &mut at, 1 << 20).unwrap();
    assert_eq!(pieces[0].bytes.len(), run.len() / 2);
    assert_eq!(at.next, Offset(end));
}

#[test]
fn missing_records_are_an_error() {
    let (run, _) = run_of(10, &[5]);
    let mut at = position(9);
    let error = cut(&run, &mut at, 1 << 20).unwrap_err();
    assert!(matches!(error, RunError::Gap { from: Offset(9), to: Offset(10) }), "{error}");
    assert_eq!(at, position(9));
}

#[test]
fn a_cut_batch_is_an_error() {
    let (run, _) = run_of(0, &[5, 5]);
    for end in 1..run.len() {
        let mut at = position(0);
        let cut_short = end != run.len() / 2;
        assert_eq!(cut(&run.slice(..end), &mut at, 1 << 20).is_err(), cut_short, "at {end}");
    }
}

proptest! {
    #[test]
    fn every_record_is_sent_once_whatever_the_pieces(
        sizes in prop::collection::vec(1_usize..20, 1..30),
        from in 0_u64..100,
        stop in prop::option::of(0_u64..400),
        piece_bytes in 1_usize..4000,
    ) {
        let (run, end) = run_of(0, &sizes);
        let mut at = Position { next: Offset(from.min(end)), stop: stop.map(Offset) };
        let begin = at;
        let pieces = cut(&run, &mut at, piece_bytes).unwrap();
        let mut next = None;
        for piece in &pieces {
            let mut batches = 0;
            for part in batch::split(piece.bytes.clone(), 1 << 20) {
                let header = part.unwrap().header();
                prop_assert!(next.is_none_or(|next| next == header.base_offset));
                prop_assert!(next.is_some() || header.base_offset <= begin.next);
                prop_assert!(begin.stop.is_none_or(|stop| header.base_offset < stop));
                prop_assert!(header.next_offset() > begin.next);
                next = Some(header.next_offset());
                batches += 1;
            }
            prop_assert!(piece.bytes.len() <= piece_bytes || batches == 1);
            prop_assert_eq!(next, Some(piece.next));
        }
        prop_assert_eq!(at.next, next.unwrap_or(begin.next));
        prop_assert!(at.next >= Offset(end) || at.is_done());
    }
}
