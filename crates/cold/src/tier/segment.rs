//! One segment on its way to the bucket.

use std::sync::Arc;

use tidelog_format::batch::Batch;
use tidelog_format::segment::{
    AbortedTransaction, Closing, SegmentEncoder, SegmentEntry, SegmentError, SegmentIdentity,
};
use tidelog_format::state::EpochEntry;
use tidelog_model::{LeaderEpoch, TopicPartition};

use super::budget::Held;
use super::parts::ObjectWriter;
use super::{Inner, OpenSegment};
use crate::error::ColdError;
use crate::manifest::new_id;

/// Takes batches, and becomes an object in the bucket when it is finished. Dropped before that, it
/// leaves nothing behind.
#[derive(Debug)]
pub struct SegmentUpload {
    tier: Arc<Inner>,
    tp: TopicPartition,
    epoch: LeaderEpoch,
    state: State,
}

#[derive(Debug)]
enum State {
    Empty,
    Open(Box<Open>),
    Failed,
}

#[derive(Debug)]
struct Open {
    encoder: SegmentEncoder,
    writer: ObjectWriter,
    _counted: OpenSegment,
}

impl SegmentUpload {
    pub(super) fn new(tier: Arc<Inner>, tp: TopicPartition, epoch: LeaderEpoch) -> Self {
        Self { tier, tp, epoch, state: State::Empty }
    }

    /// Appends a batch, which must follow the one before it. The first decides the segment's first
    /// offset.
    ///
    /// Waits for memory while other uploads are about to give some back. [`ColdError::UploadMemory`]
    /// means that the batch was not taken and nothing else has changed; any other error ends the
    /// upload.
    pub async fn push(&mut self, batch: Batch) -> Result<(), ColdError> {
        let tp = self.tp;
        let bytes = batch.as_bytes();
        let Some(held) = self.tier.memory.take(bytes.len()).await else {
            return Err(ColdError::UploadMemory { tp, open: self.tier.open_segments() });
        };
        let mut open = match std::mem::replace(&mut self.state, State::Failed) {
            State::Open(open) => open,
            State::Empty => Box::new(self.open(&batch).await?),
            State::Failed => return Err(ColdError::UploadFailed { tp }),
        };
        open.encoder.push(bytes).map_err(|source| ColdError::Segment { tp, source })?;
        open.writer.write(bytes, held).await?;
        self.state = State::Open(open);
        Ok(())
    }

    async fn open(&self, first: &Batch) -> Result<Open, ColdError> {
        let identity = SegmentIdentity {
            tp: self.tp,
            incarnation: self.tier.incarnation,
            epoch: self.epoch,
            first_offset: first.base_offset(),
            id: new_id(),
        };
        let encoder = SegmentEncoder::new(identity, self.tier.segments);
        let mut writer = ObjectWriter::new(self.tier.clone(), self.tp, identity.key().to_string());
        writer.write(&encoder.header(), self.uncounted().await).await?;
        Ok(Open { encoder, writer, _counted: self.tier.count_open() })
    }

    /// For what is small and must not wait for others: a segment's header and tail.
    async fn uncounted(&self) -> Held {
        self.tier.memory.take(0).await.expect("nothing is always there")
    }

    /// Bytes that the object has so far.
    pub fn bytes(&self) -> u64 {
        match &self.state {
            State::Open(open) => open.encoder.bytes(),
            State::Empty | State::Failed => 0,
        }
    }

    /// Completes the object and checks that it is in the bucket as it was sent.
    ///
    /// `aborted` are all aborted transactions that overlap the segment; `epochs` are those that it
    /// spans, or none when they follow from the batches.
    pub async fn finish(
        mut self,
        aborted: Vec<AbortedTransaction>,
        epochs: Vec<EpochEntry>,
    ) -> Result<SegmentEntry, ColdError> {
        let tp = self.tp;
        let open = match std::mem::replace(&mut self.state, State::Failed) {
            State::Open(open) => open,
            State::Empty => return Err(ColdError::Segment { tp, source: SegmentError::Empty }),
            State::Failed => return Err(ColdError::UploadFailed { tp }),
        };
        let Open { encoder, mut writer, _counted } = *open;
        let closing = Closing { epochs, aborted, last_offset: None, created: self.tier.clock.now() };
        let finished = encoder.finish(closing).map_err(|source| ColdError::Segment { tp, source })?;
        writer.write(&finished.tail, self.uncounted().await).await?;
        writer.finish(&finished.tail).await?;
        Ok(finished.entry)
    }
}
