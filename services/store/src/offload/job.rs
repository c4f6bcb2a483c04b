//! Moving one partition's records to the bucket.
//!
//! Two halves run side by side: one cuts the batches that come from the journal into segments and
//! uploads them, the other makes what is uploaded visible. While a segment is being published, the next
//! one is on its way. The steps of publishing:
//!
//! 1. finish the segment (its index and footer),
//! 2. write the state object and the new manifest root,
//! 3. commit the pointer,
//! 4. tell the journal what it may give up.
//!
//! A crash or an error between any two leaves objects that nothing refers to, and the next attempt
//! begins at the committed pointer again.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_cold::SegmentUpload;
use tidelog_format::batch;
use tidelog_format::state::{PartitionState, ProducerEntry};
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{LeaderEpoch, Offset};
use tidelog_runtime::crash_point;
use tokio::sync::mpsc;

use super::commit::commit;
use super::cutter::{Cut, Cutter, SegmentEnd};
use super::error::OffloadError;
use crate::node::Node;
use crate::partition::Partition;
use crate::topics::scribe;

/// Segments that are uploaded and wait to be published.
const FINISHED_MAX: usize = 1;

/// What to move.
pub(crate) struct Job {
    pub(crate) partition: Arc<Partition>,
    /// The last batch is the one that reaches the end.
    pub(crate) span: Range<Offset>,
    /// What lies from here on may not be moved yet.
    pub(crate) limit: Offset,
    pub(crate) segment_bytes: u64,
    /// The leadership that moves it; under another one everything begins anew.
    pub(crate) epoch: LeaderEpoch,
}

impl Job {
    /// Moves what comes through `batches` and returns once the pointer leads to all of it.
    pub(crate) async fn run(
        self,
        node: Arc<Node>,
        batches: mpsc::Receiver<Bytes>,
    ) -> Result<(), OffloadError> {
        crash_point!("store::offload-begun");
        scribe::describe_partition(&node, &self.partition).await?;
        let producers = producers(&node, &self.partition).await?;
        let cutter = Cutter::new(self.span, self.limit, self.segment_bytes, &producers);
        let (finished, to_publish) = mpsc::channel(FINISHED_MAX);
        let uploading = upload(&node, (&self.partition, self.epoch), cutter, batches, finished);
        let publishing = publish(&node, (&self.partition, self.epoch), to_publish);
        tokio::try_join!(uploading, publishing)?;
        Ok(())
    }
}

/// The producers as of the tiered end.
async fn producers(node: &Node, partition: &Partition) -> Result<Vec<ProducerEntry>, OffloadError> {
    let known = partition.with_tiered(|tiered| (tiered.producers(), tiered.pointer()));
    let (known, pointer) = known.ok_or(OffloadError::Fenced { partition: partition.id })?;
    match (known, pointer) {
        (Some(known), _) => Ok(known),
        (None, None) => Ok(Vec::new()),
        (None, Some(pointer)) => Ok(node.cold.state(partition.id, &pointer).await?.producers),
    }
}

async fn upload(
    node: &Node,
    (partition, epoch): (&Partition, LeaderEpoch),
    mut cutter: Cutter,
    mut batches: mpsc::Receiver<Bytes>,
    finished: mpsc::Sender<(SegmentUpload, SegmentEnd)>,
) -> Result<(), OffloadError> {
    let mut segment: Option<SegmentUpload> = None;
    while let Some(bytes) = batches.recv().await {
        for batch in batch::split(bytes, BATCH_BYTES_MAX) {
            let batch = batch?;
            let cut = cutter.push(&batch.header(), node.clock.now())?;
            let mut current = segment.take().unwrap_or_else(|| node.tier.segment(partition.id, epoch));
            current.push(batch).await?;
            match cut {
                Cut::None => segment = Some(current),
                // A closed channel means that publishing failed, and its error is the one to report.
                Cut::Here(end) => {
                    if finished.send((current, end)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(cutter.finish()?)
}

async fn publish(
    node: &Node,
    (partition, epoch): (&Arc<Partition>, LeaderEpoch),
    mut finished: mpsc::Receiver<(SegmentUpload, SegmentEnd)>,
) -> Result<(), OffloadError> {
    while let Some((segment, end)) = finished.recv().await {
        let (written, history) = partition.epochs(end.start, end.next);
        let known = partition.with_tiered(|tiered| (tiered.pointer(), tiered.pointer_revision));
        let (previous, previous_revision) = known.ok_or(OffloadError::Fenced { partition: partition.id })?;
        let entry = segment.finish(Vec::new(), written).await?;
        crash_point!("store::offload-segment-uploaded");
        let state = PartitionState { end: end.next, producers: end.producers, epochs: history };
        let pointer = node.tier.publish(partition.id, epoch, previous.as_ref(), vec![entry], &state).await?;
        crash_point!("store::offload-manifest-uploaded");
        commit(node, partition, previous_revision, pointer, &state.producers).await?;
        node.metrics.offloaded_segments.inc();
        node.metrics.offloaded_bytes.inc_by(entry.bytes);
    }
    Ok(())
}
