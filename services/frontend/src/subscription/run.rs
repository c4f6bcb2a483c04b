//! Cuts a run of batches to what a subscription still needs.
//!
//! The seam between the tiers is here: whatever a store or the bucket hands out, a batch that was sent
//! is not sent again, and one that is missing is an error rather than a silence.

use bytes::Bytes;
use thiserror::Error;
use tidelog_format::batch::{self, BatchError};
use tidelog_model::Offset;

/// What a subscription has sent and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Everything below was sent.
    pub next: Offset,
    /// Nothing that begins here or later is sent.
    pub stop: Option<Offset>,
}

impl Position {
    pub(super) fn is_done(self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }
}

/// Whole batches, back to back, that go out in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub bytes: Bytes,
    /// The offset after its last record.
    pub next: Offset,
}

/// Why a run of batches cannot be sent.
#[derive(Debug, Error)]
pub(super) enum RunError {
    #[error("records {from} to {to} are missing")]
    Gap { from: Offset, to: Offset },
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// The pieces of a run that the subscription still needs, each as large as `piece_bytes` allows but at
/// least one batch. Moves the position past them.
pub(super) fn cut(run: &Bytes, position: &mut Position, piece_bytes: usize) -> Result<Vec<Piece>, RunError> {
    let mut pieces = Vec::new();
    let (mut at, mut begin) = (0, 0);
    let mut next = position.next;
    while at < run.len() {
        let header = batch::header(&run[at..])?;
        let end = at + header.batch_bytes;
        if end > run.len() {
            return Err(BatchError::Truncated { needed: header.batch_bytes, present: run.len() - at }.into());
        }
        if header.next_offset() <= next {
            // Sent before.
            if at > begin {
                pieces.push(Piece { bytes: run.slice(begin..at), next });
            }
            begin = end;
        } else if header.base_offset > next {
            return Err(RunError::Gap { from: next, to: header.base_offset });
        } else if position.stop.is_some_and(|stop| header.base_offset >= stop) {
            break;
        } else {
            if at > begin && end - begin > piece_bytes {
                pieces.push(Piece { bytes: run.slice(begin..at), next });
                begin = at;
            }
            next = header.next_offset();
        }
        at = end;
        position.next = next;
    }
    if at > begin {
        pieces.push(Piece { bytes: run.slice(begin..at), next });
    }
    Ok(pieces)
}
