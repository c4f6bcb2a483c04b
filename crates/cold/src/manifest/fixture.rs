//! A small partition in a bucket, written as a leader would.

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{BatchBuilder, BatchOptions, assign};
use tidelog_format::descriptor::{ClusterDescriptor, TopicDescriptor};
use tidelog_format::manifest::Shape;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{Closing, SegmentEncoder, SegmentEntry, SegmentIdentity, SegmentOptions};
use tidelog_format::state::{EpochEntry, PartitionState, ProducerEntry};
use tidelog_model::{
    ClusterId, Incarnation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, TimestampMs,
    TopicId, TopicName, TopicPartition,
};

use super::{ManifestError, Manifests, Publish, new_id};
use crate::bucket::Bucket;
use crate::descriptor::Descriptors;

/// Trees that are deep with a handful of segments.
pub(crate) const SMALL: Shape = Shape { root_entries_max: 4, group_entries_max: 2 };

pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(3);

/// A partition with its leader's view of it.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) tp: TopicPartition,
    pub(crate) bucket: Bucket,
    pub(crate) manifests: Manifests,
    pub(crate) pointer: Option<Pointer>,
    pub(crate) end: u64,
    /// Every batch there is, as it was written.
    pub(crate) batches: Vec<(Offset, Bytes)>,
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Partition {
    pub(crate) fn new(bucket: &Bucket, number: u8) -> Self {
        let tp = TopicPartition {
            topic: TopicId::from_bytes([number; 16]),
            partition: PartitionId(number.into()),
        };
        Self {
            tp,
            bucket: bucket.clone(),
            manifests: Manifests::with_shape(bucket.clone(), 1 << 20, SMALL),
            pointer: None,
            end: 0,
            batches: Vec::new(),
            segments: Vec::new(),
        }
    }

    /// Manifests that have nothing in memory yet.
    pub(crate) fn fresh(&self) -> Manifests {
        Manifests::with_shape(self.bucket.clone(), 1 << 20, SMALL)
    }

    pub(crate) fn pointer(&self) -> &Pointer {
        self.pointer.as_ref().unwrap()
    }

    /// Uploads a segment of so many batches of three records each, a hundred milliseconds apart.
    pub(crate) async fn upload(&mut self, batches: u64) -> SegmentEntry {
        let identity = SegmentIdentity {
            tp: self.tp,
            incarnation: Incarnation::FIRST,
            epoch: EPOCH,
            first_offset: Offset(self.end),
            id: new_id(),
        };
        let options = SegmentOptions { block_bytes: 300, ..SegmentOptions::default() };
        let mut encoder = SegmentEncoder::new(identity, options);
        let mut object = BytesMut::from(&encoder.header()[..]);
        for _ in 0..batches {
            let batch = batch(self.end);
            encoder.push(&batch).unwrap();
            object.extend_from_slice(&batch);
            self.batches.push((Offset(self.end), batch));
            self.end += 3;
        }
        let finished = encoder.finish(Closing { created: TimestampMs(1), ..Closing::default() }).unwrap();
        object.extend_from_slice(&finished.tail);
        self.bucket.put(&identity.key().to_string(), object.freeze()).await.unwrap();
        finished.entry
    }

    pub(crate) fn state(&self) -> PartitionState {
        let producer = ProducerEntry {
            id: ProducerId(1),
            epoch: ProducerEpoch(0),
            last_timestamp: TimestampMs(2),
            coordinator_epoch: -1,
            transaction_start: None,
            batches: Vec::new(),
        };
        let epoch = EpochEntry { incarnation: Incarnation::FIRST, epoch: EPOCH, start: Offset(0) };
        PartitionState { end: Offset(self.end), producers: vec![producer], epochs: vec![epoch] }
    }

    pub(crate) async fn publish(&mut self, segments: &[SegmentEntry]) -> Result<(), ManifestError> {
        let state = self.state();
        let pointer = self
            .manifests
            .publish(Publish {
                tp: self.tp,
                incarnation: Incarnation::FIRST,
                epoch: EPOCH,
                previous: self.pointer.as_ref(),
                segments,
                state: &state,
                log_start: Offset::ZERO,
                now: TimestampMs(5),
            })
            .await?;
        self.pointer = Some(pointer);
        self.segments.extend_from_slice(segments);
        Ok(())
    }

    /// Uploads and publishes so many segments, one by one.
    pub(crate) async fn grow(&mut self, segments: u64) {
        for number in 0..segments {
            let segment = self.upload(2 + number % 3).await;
            self.publish(&[segment]).await.unwrap();
        }
    }
}

/// The timestamp of the record at `offset`.
pub(crate) fn timestamp(offset: u64) -> TimestampMs {
    TimestampMs(1_700_000_000_000 + offset as i64 * 100)
}

fn batch(base: u64) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for offset in base..base + 3 {
        let value = format!("the record at {offset}");
        builder.push(timestamp(offset), None, Some(value.as_bytes()), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    assign(&mut bytes, Offset(base), EPOCH);
    bytes.freeze()
}

/// Writes descriptors of a cluster and of the partition's topic.
pub(crate) async fn describe(bucket: &Bucket, topic: TopicId, name: &str, deleted: Option<TimestampMs>) {
    let descriptors = Descriptors::new(bucket.clone());
    let cluster = ClusterDescriptor {
        cluster: ClusterId::from_bytes([7; 16]),
        incarnation: Incarnation::FIRST,
        sequence: 1,
        written: TimestampMs(1),
        created: TimestampMs(1),
        metadata_revision: 1,
        software: "tidelog test".to_owned(),
    };
    descriptors.put_cluster(&cluster).await.unwrap();
    let topic = TopicDescriptor {
        topic,
        name: TopicName::new(name).unwrap(),
        incarnation: Incarnation::FIRST,
        sequence: 1,
        partitions: 8,
        written: TimestampMs(1),
        created: TimestampMs(1),
        deleted: None,
        config: vec![],
    };
    descriptors.put_topic(&topic).await.unwrap();
    if deleted.is_some() {
        descriptors.put_topic(&TopicDescriptor { deleted, sequence: 2, ..topic }).await.unwrap();
    }
}
