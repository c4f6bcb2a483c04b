use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_model::{LeaderEpoch, Offset, TimestampMs};
use tokio::time::Instant;

use super::pieces::{Piece, pieces, share};
use super::ring::{Chunk, Fit, Ring};

/// So many batches of ten records each, one after the other from an offset on.
fn run(base: u64, count: u64) -> Bytes {
    let mut run = BytesMut::new();
    for n in 0..count {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..10 {
            builder.push(TimestampMs(1), None, Some(&[b'v'; 100]), &[]).unwrap();
        }
        let mut bytes = builder.finish();
        batch::assign(&mut bytes, Offset(base + n * 10), LeaderEpoch(1));
        run.extend_from_slice(&bytes);
    }
    run.freeze()
}

fn found(base: u64, count: u64) -> Vec<Piece> {
    pieces(&[run(base, count)]).unwrap()
}

fn ring_of(chunks: &[(u64, u64)]) -> Ring {
    let mut ring = Ring::default();
    for (id, (base, count)) in (1..).zip(chunks) {
        let pieces = found(*base, *count);
        let held_bytes = Chunk::cost(&pieces);
        ring.push(Chunk { id, pieces, held_bytes, came: Instant::now() });
    }
    ring
}

#[test]
fn a_run_is_taken_apart_and_a_damaged_one_is_refused() {
    let bytes = run(30, 3);
    let pieces = pieces(&[bytes.slice(..bytes.len() / 3), bytes.slice(bytes.len() / 3..)]).unwrap();
    let bounds: Vec<_> = pieces.iter().map(|piece| (piece.base.0, piece.next.0)).collect();
    assert_eq!(bounds, [(30, 40), (40, 50), (50, 60)]);
    assert!(super::pieces::pieces(&[bytes.slice(..bytes.len() - 1)]).is_err());
}

#[test]
fn a_little_of_much_is_a_copy_and_most_of_it_is_not() {
    let answer: Vec<_> = found(0, 10).into_iter().map(|piece| piece.bytes).collect();
    let one = answer[0].len();
    for count in 1..=10 {
        let shared = share(&answer, one * count);
        assert_eq!(shared, answer[..count]);
        let same = shared[0].as_ptr() == answer[0].as_ptr();
        assert_eq!(same, count >= 5, "{count} of 10");
    }
}

#[test]
fn only_what_goes_on_from_the_end_extends_a_ring() {
    let ring = ring_of(&[(20, 2), (40, 1)]);
    let cases = [
        (found(50, 2), Fit::Extends(2)),
        (found(30, 4), Fit::Extends(2)),
        (found(20, 3), Fit::Known),
        (found(0, 1), Fit::Known),
        (found(60, 1), Fit::Apart),
        (found(45, 1), Fit::Differs),
    ];
    for (pieces, expected) in cases {
        assert_eq!(ring.fit(&pieces), expected, "from {}", pieces[0].base);
    }
    assert_eq!(Ring::default().fit(&found(0, 1)), Fit::Apart);
}

#[test]
fn a_read_begins_with_the_batch_that_has_the_offset_and_ends_below_the_end() {
    let ring = ring_of(&[(20, 2), (40, 1), (50, 3)]);
    let read = |from, end, max_bytes| {
        let batches = ring.read(Offset(from), Offset(end), max_bytes)?;
        let pieces = pieces(&batches).unwrap();
        Some((pieces[0].base.0, pieces[pieces.len() - 1].next.0))
    };
    assert_eq!(read(20, 80, usize::MAX), Some((20, 80)));
    assert_eq!(read(35, 80, usize::MAX), Some((30, 80)));
    assert_eq!(read(35, 60, usize::MAX), Some((30, 60)));
    assert_eq!(read(35, 80, 1), Some((30, 40)));
    assert_eq!(read(19, 80, usize::MAX), None, "older");
    assert_eq!(read(60, 60, usize::MAX), None, "not to be seen yet");
    assert_eq!(read(80, 90, usize::MAX), None, "newer");
}

#[test]
fn a_ring_counts_what_it_holds() {
    let mut ring = ring_of(&[(20, 2), (40, 1)]);
    let mut held = ring.bytes();
    while let Some(chunk) = ring.pop() {
        held -= chunk.held_bytes;
        assert_eq!(ring.bytes(), held);
    }
    assert_eq!((held, ring.end()), (0, None));
}
