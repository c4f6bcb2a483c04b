use bytes::Bytes;
use tidelog_format::batch::{self, BatchBuilder, BatchHeader, BatchOptions};
use tidelog_meta::Revision;
use tidelog_meta::value::Topic as TopicRecord;
use tidelog_model::{
    DirectoryId, LeaderEpoch, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicConfig, TopicId,
    TopicName,
};
use tidelog_peer::Produced;
use tidelog_replica::{Config, Event, Instance, Observed, Origin, Recovered, ReplicaId};

use super::outside::Alone;
use super::step::{CutWritten, Sink, Written};
use super::*;
use crate::produce::Validated;

const NOW: TimestampMs = TimestampMs(1_000);

/// Collects what a partition wants written, as a journal would before its next sync.
#[derive(Default)]
struct Queue {
    epochs: Vec<EpochEntry>,
    batches: Vec<(BatchHeader, Bytes, Written)>,
}

impl Sink for Queue {
    fn epoch_start(&mut self, entry: EpochEntry) {
        self.epochs.push(entry);
    }

    fn batch(&mut self, header: &BatchHeader, bytes: Bytes, done: Written) {
        assert_eq!(batch::header(&bytes).unwrap(), *header);
        self.batches.push((*header, bytes, done));
    }

    fn truncate(&mut self, _: LeaderEpoch, _: Offset, _: CutWritten) {
        unreachable!("a leader does not cut");
    }
}

impl Queue {
    fn sync(&mut self) {
        for (_, _, done) in self.batches.drain(..) {
            done.durable();
        }
    }
}

fn me() -> Instance {
    let replica = ReplicaId { node: NodeId(1), directory: DirectoryId::from_bytes([2; 16]) };
    Instance { replica, boot: 1 }
}

/// Leads under that epoch, alone.
fn partition(epoch: u32) -> (Arc<Partition>, Queue) {
    let topic = TopicId::from_bytes([1; 16]);
    let id = TopicPartition::new(topic, PartitionId(0));
    let record = TopicRecord::new(TopicName::new("t").unwrap(), 1, &TopicConfig::default(), NOW);
    let config = Config { promotion_wait: std::time::Duration::ZERO, ..Config::default() };
    let parts = Parts {
        incarnation: Incarnation::FIRST,
        outside: Arc::new(Alone { node: std::sync::Weak::new() }),
        ticks: Ticks::start(),
        replica: Replica::new(me(), config, Recovered::default()),
        log: LogState::default(),
        tiered: Some(Tiered::stored(None)),
        status: Status::Serving,
    };
    let partition = Partition::new(id, Topic::new(topic, &record, Revision(1)), parts);
    let record = Record {
        epoch: LeaderEpoch(epoch),
        leader: Some(me()),
        replicas: vec![NodeId(1)],
        isr: vec![me().replica],
        unclean_epoch: None,
    };
    let mut queue = Queue::default();
    let observed = Observed { record, revision: 1, floor: 1, origin: Origin::Read };
    partition.step(Event::Observed(observed), None, &mut queue);
    (partition, queue)
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
    let (partition, mut queue) = partition(3);
    let first = partition.append(records(2, None), NOW, &mut queue).unwrap();
    let second = partition.append(records(3, None), NOW, &mut queue).unwrap();
    let marks = partition.marks(None);
    assert_eq!((marks.high_watermark, marks.log_end), (Offset(0), Offset(5)));
    let header = &queue.batches[1].0;
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(2), LeaderEpoch(3)));
    let begun = EpochEntry { incarnation: Incarnation::FIRST, epoch: LeaderEpoch(3), start: Offset(0) };
    assert_eq!(queue.epochs, [begun], "told once, before the first batch");
    queue.sync();
    assert_eq!((first.await, second.await), (Ok(produced(0)), Ok(produced(2))));
    assert_eq!(partition.marks(None).high_watermark, Offset(5));
}

#[tokio::test]
async fn a_repeated_batch_is_acknowledged_when_its_first_copy_is_durable() {
    let (partition, mut queue) = partition(1);
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
    let (partition, mut queue) = partition(1);
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
    let (partition, mut queue) = partition(1);
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
    let (partition, mut queue) = partition(1);
    let waits = partition.changed();
    tokio::pin!(waits);
    assert!(!waits.as_mut().enable());
    let _ack = partition.append(records(1, None), NOW, &mut queue).unwrap();
    assert!(futures::poll!(waits.as_mut()).is_pending());
    queue.sync();
    assert!(futures::poll!(waits.as_mut()).is_ready());
}
