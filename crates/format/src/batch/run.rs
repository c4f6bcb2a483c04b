//! Batches that follow one another without gaps, as they do in a fetch answer and in a segment's block.

use bytes::Bytes;

use super::Batch;
use super::error::BatchError;
use super::header::header;

/// Takes `bytes` apart into batches of at most `max_batch_bytes` each. Ends after the first error.
pub fn split(bytes: Bytes, max_batch_bytes: usize) -> Batches {
    Batches { rest: bytes, max_batch_bytes }
}

/// The batches of a run.
#[derive(Debug)]
pub struct Batches {
    rest: Bytes,
    max_batch_bytes: usize,
}

impl Batches {
    fn take(&mut self) -> Result<Batch, BatchError> {
        let header = header(&self.rest)?;
        let bytes = header.batch_bytes;
        if bytes > self.max_batch_bytes {
            return Err(BatchError::TooLarge { bytes, max: self.max_batch_bytes });
        }
        if bytes > self.rest.len() {
            return Err(BatchError::Truncated { needed: bytes, present: self.rest.len() });
        }
        Ok(Batch { header, bytes: self.rest.split_to(bytes) })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = Bytes::new();
        }
        Some(taken)
    }
}
