//! What goes out in one frame.

use bytes::Bytes;
use tidelog_model::Offset;
use tidelog_peer::Marks;
use tidelog_proto::v1;
use tidelog_wire::{FrameKind, FrameSender};

use super::run::Piece;

/// Pieces that go out in one frame.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pieces: Vec<Bytes>,
    bytes: usize,
    next: Offset,
}

impl Gathered {
    /// Whether there is no place for another piece: the first one always has one.
    pub(super) fn is_full(&self, piece: &Piece, frame_bytes: usize) -> bool {
        self.bytes > 0 && self.bytes + piece.bytes.len() > frame_bytes
    }

    pub(super) fn take(&mut self, piece: Piece) {
        self.bytes += piece.bytes.len();
        self.next = piece.next;
        self.pieces.push(piece.bytes);
    }

    /// Queues what was gathered, if there is any.
    pub(super) fn push(&mut self, marks: &Marks, tier: v1::Tier, send: &mut FrameSender) {
        if self.bytes == 0 {
            return;
        }
        let header = v1::Records {
            next_offset: self.next.0,
            log_start: marks.log_start.0,
            high_watermark: marks.high_watermark.0,
            last_stable: marks.last_stable.0,
            tier: tier.into(),
        };
        send.push(FrameKind::Records, &header, &self.pieces);
        self.pieces.clear();
        self.bytes = 0;
    }
}
