//! An answer's batches one by one, and the part of them that one reader takes.

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{self, BatchError};
use tidelog_model::{LeaderEpoch, Offset};

/// One batch and the offsets that it covers.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub base: Offset,
    pub next: Offset,
    pub epoch: LeaderEpoch,
    pub bytes: Bytes,
}

/// The batches of an answer, which come one by one or several back to back.
pub(super) fn pieces(answer: &[Bytes]) -> Result<Vec<Piece>, BatchError> {
    let mut pieces = Vec::with_capacity(answer.len());
    for run in answer {
        let mut at = 0;
        while at < run.len() {
            let header = batch::header(&run[at..])?;
            let end = at + header.batch_bytes;
            if end > run.len() {
                let present = run.len() - at;
                return Err(BatchError::Truncated { needed: header.batch_bytes, present });
            }
            let bytes = run.slice(at..end);
            let (base, next, epoch) = (header.base_offset, header.next_offset(), header.leader_epoch);
            pieces.push(Piece { base, next, epoch, bytes });
            at = end;
        }
    }
    Ok(pieces)
}

/// What one reader takes of what is there for many.
#[derive(Debug, Default)]
pub(super) struct Share {
    batches: Vec<Bytes>,
    bytes: usize,
}

impl Share {
    /// Takes one more unless it is one too many: the first is taken however large it is.
    pub(super) fn take(&mut self, batch: &Bytes, max_bytes: usize) -> bool {
        if self.bytes > 0 && self.bytes + batch.len() > max_bytes {
            return false;
        }
        self.bytes += batch.len();
        self.batches.push(batch.clone());
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `held_bytes` is what these batches keep in memory: an answer that came over the network is one
    /// allocation. A share of less than half of that is copied, so that a slow reader of a little does
    /// not hold much.
    pub(super) fn into_batches(self, held_bytes: usize) -> Vec<Bytes> {
        if self.bytes * 2 >= held_bytes {
            return self.batches;
        }
        let mut copy = BytesMut::with_capacity(self.bytes);
        self.batches.iter().for_each(|batch| copy.extend_from_slice(batch));
        let mut copy = copy.freeze();
        self.batches.iter().map(|batch| copy.split_to(batch.len())).collect()
    }
}

/// The first batches of an answer, as many as fit.
pub(super) fn share(answer: &[Bytes], max_bytes: usize) -> Vec<Bytes> {
    let mut share = Share::default();
    // The rest is not looked at once one does not fit.
    let _ = answer.iter().all(|batch| share.take(batch, max_bytes));
    share.into_batches(answer.iter().map(Bytes::len).sum())
}
