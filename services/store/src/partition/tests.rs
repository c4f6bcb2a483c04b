use bytes::BytesMut;
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_meta::Revision;
use tidelog_model::{
    Incarnation, LeaderEpoch, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicConfig, TopicId,
    TopicName,
};

use super::*;

const NOW: TimestampMs = TimestampMs(1_000);

/// Collects what a partition wants written, as a journal would before its next sync.
#[derive(Default)]
struct Queue {
    epochs: Vec<(Leadership, Offset)>,
    batches: Vec<(Place, BytesMut, Completion)>,
}

impl Sink for Queue {
    fn epoch_start(&mut self, leadership: Leadership, start: Offset) {
        self.epochs.push((leadership, start));
    }

    fn batch(&mut self, place: Place, validated: Validated, done: Completion) {
        self.batches.push((place, validated.bytes, done));
    }
}

impl Queue {
    fn sync(&mut self) {
        for (_, _, done) in self.batches.drain(..) {
            done.durable();
        }
    }
}

fn leadership(epoch: u32) -> Leadership {
    Leadership { incarnation: Incarnation::FIRST, epoch: LeaderEpoch(epoch) }
}

fn partition(epoch: u32) -> Arc<Partition> {
    let topic = TopicId::from_bytes([1; 16]);
    let id = TopicPartition::new(topic, PartitionId(0));
    let topic =
        Topic::new(topic, TopicName::new("t").unwrap(), 1, NOW, (Revision(1), TopicConfig::default()));
    let tiered = Tiered::stored(Revision(1), None);
    Partition::new(id, topic, LogState::empty(leadership(epoch)), tiered)
}

fn records(count: u32, producer: Option<(i64, i32)>) -> Validated {
    let producer = producer.map(|(id, first)| (ProducerId(id), ProducerEpoch(0), Sequence(first)));
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    for _ in 0..count {
        builder.push(NOW, None, Some(b"v"), &[]).unwrap();
    }
    let bytes = builder.finish();
    Validated { header: batch::header(&bytes).unwrap(), bytes, append_time: None }
}

fn produced(base_offset: u64) -> Produced {
    Produced { base_offset: Offset(base_offset), append_time: None, log_start: Offset(0) }
}

#[tokio::test]
async fn batches_get_consecutive_offsets_and_become_visible_when_durable() {
    let (partition, mut queue) = (partition(3), Queue::default());
    let first = partition.append(records(2, None), NOW, &mut queue).unwrap();
    let second = partition.append(records(3, None), NOW, &mut queue).unwrap();
    let marks = partition.marks(None).unwrap();
    assert_eq!((marks.high_watermark, marks.log_end), (Offset(0), Offset(5)));
    let header = batch::header(&queue.batches[1].1).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(2), LeaderEpoch(3)));
    assert_eq!(queue.epochs, [(leadership(3), Offset(0))], "told once, before the first batch");
    queue.sync();
    assert_eq!((first.await, second.await), (Ok(produced(0)), Ok(produced(2))));
    assert_eq!(partition.marks(None).unwrap().high_watermark, Offset(5));
}

#[tokio::test]
async fn a_repeated_batch_is_acknowledged_when_its_first_copy_is_durable() {
    let (partition, mut queue) = (partition(1), Queue::default());
    let first = partition.append(records(2, Some((7, 0))), NOW, &mut queue).unwrap();
    let mut repeated = partition.append(records(2, Some((7, 0))), NOW, &mut queue).unwrap();
    assert_eq!(queue.batches.len(), 1, "nothing is written twice");
    assert!(futures::poll!(&mut repeated).is_pending());
    queue.sync();
    assert_eq!((first.await, repeated.await), (Ok(produced(0)), Ok(produced(0))));
    let again = partition.append(records(2, Some((7, 0))), NOW, &mut queue).unwrap();
    assert_eq!(again.await, Ok(produced(0)));
    let gap = partition.append(records(1, Some((7, 5))), NOW, &mut queue).unwrap_err();
    assert_eq!(gap.code, ErrorCode::OutOfOrderSequence);
}

#[tokio::test]
async fn a_failed_journal_leaves_outcomes_unknown_and_takes_no_more() {
    let (partition, mut queue) = (partition(1), Queue::default());
    let first = partition.append(records(1, Some((7, 0))), NOW, &mut queue).unwrap();
    let repeated = partition.append(records(1, Some((7, 0))), NOW, &mut queue).unwrap();
    queue.batches.remove(0).2.failed(ErrorCode::StorageError, "input/output error");
    for outcome in [first.await, repeated.await] {
        let error = outcome.unwrap_err();
        assert_eq!(error.code, ErrorCode::StorageError);
        assert!(!error.has_no_side_effects());
    }
    assert!(partition.append(records(1, None), NOW, &mut queue).is_err());
    assert!(partition.check().is_err());
}

#[tokio::test]
async fn a_checkpoint_shows_what_is_durable_alone() {
    let (partition, mut queue) = (partition(1), Queue::default());
    let _first = partition.append(records(2, Some((7, 0))), NOW, &mut queue).unwrap();
    queue.sync();
    let (before, _) = partition.checkpoint(NOW).unwrap();
    let _second = partition.append(records(2, Some((7, 2))), NOW, &mut queue).unwrap();
    assert_eq!(partition.checkpoint(NOW).unwrap().0, before);
    assert_eq!((before.end, before.producers.len(), before.epochs.len()), (Offset(2), 1, 1));
    queue.sync();
    assert_eq!(partition.checkpoint(NOW).unwrap().0.end, Offset(4));
}

#[tokio::test]
async fn a_reader_who_waits_is_woken_by_the_sync() {
    let (partition, mut queue) = (partition(1), Queue::default());
    let waits = partition.changed();
    tokio::pin!(waits);
    assert!(!waits.as_mut().enable());
    let _ack = partition.append(records(1, None), NOW, &mut queue).unwrap();
    assert!(futures::poll!(waits.as_mut()).is_pending());
    queue.sync();
    assert!(futures::poll!(waits.as_mut()).is_ready());
}
