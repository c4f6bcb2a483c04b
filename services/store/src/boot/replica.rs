//! A partition as this start of the store finds it: its log out of the journal, and the replica on it.

use std::sync::Arc;

use tidelog_format::pointer::Pointer;
use tidelog_format::state::PartitionState;
use tidelog_journal::{Journal, ReadError};
use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::StoreError;
use tidelog_replica::{EpochStart, History, Marks, Recovered, Replica};

use super::recovery::{Commitment, RecoveredLog};
use crate::node::Node;
use crate::partition::log_state::LogState;
use crate::partition::{Partition, Parts, Status};
use crate::records;
use crate::tiered::Tiered;
use crate::topics::catalog::Topic;

/// How much of a hole is read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// A partition whose state below the journal's first record has to be read from the bucket.
pub(crate) struct Missing {
    pub(crate) partition: Arc<Partition>,
    pub(crate) pointer: Pointer,
    pub(crate) found: RecoveredLog,
}

/// Makes the partition of what the journal has. It takes part in nothing before its record was observed,
/// nor, when something is missing, before that was found.
pub(crate) fn open(
    node: &Node,
    topic: &Arc<Topic>,
    id: TopicPartition,
    found: RecoveredLog,
    tiered: Option<Tiered>,
    pointer: Option<Pointer>,
) -> (Arc<Partition>, Option<Missing>) {
    let behind = pointer.is_some_and(|pointer| found.end < pointer.tiered_end);
    let missing = found.headless || (behind && node.commitment == Commitment::Synced);
    let make = |found, status| {
        let (log, replica) = build(node, id, found, pointer.as_ref(), None);
        let parts = Parts {
            incarnation: node.identity.cluster.incarnation,
            outside: Arc::clone(&node.outside),
            ticks: node.ticks,
            replica,
            log,
            tiered,
            status,
        };
        Partition::new(id, Arc::clone(topic), parts)
    };
    match pointer.filter(|_| missing) {
        None => (make(found, Status::Serving), None),
        Some(pointer) => {
            let message = format!("{id}: its state is being read from the bucket");
            let reason = StoreError::new(ErrorCode::BucketUnavailable, message);
            let partition = make(RecoveredLog::default(), Status::Recovering(reason));
            (Arc::clone(&partition), Some(Missing { partition, pointer, found }))
        }
    }
}

/// The log's state and the replica. `state` is the bucket's, where it was needed.
pub(crate) fn build(
    node: &Node,
    id: TopicPartition,
    found: RecoveredLog,
    pointer: Option<&Pointer>,
    state: Option<PartitionState>,
) -> (LogState, Replica) {
    let RecoveredLog { mut log, tail, mut end, .. } = found;
    let log_start = pointer.map_or(log.log_start(), |pointer| pointer.log_start);
    match state {
        // Nobody else has what the journal does not have: the log goes on where the bucket ends.
        Some(state) if node.commitment == Commitment::Synced && state.end > end => {
            end = state.end;
            log = LogState::restore(log_start, state);
        }
        Some(state) => log.found_below(log_start, state),
        None => {}
    }
    for (header, appended) in &tail {
        log.append(header, header.base_offset, *appended);
    }
    if node.commitment == Commitment::Synced {
        log.settle(end);
    }
    log.set_log_start(log_start);
    let starts = log.epochs().until(Offset::MAX).into_iter();
    let starts = starts.map(|entry| EpochStart { epoch: entry.epoch, start: entry.start });
    let recovered = Recovered {
        marks: Marks {
            log_start: log.log_start(),
            local_start: node.journal.local_start(id).unwrap_or(end),
            tiered_end: pointer.map_or(Offset::ZERO, |pointer| pointer.tiered_end),
        },
        log_end: end,
        high_watermark: log.settled(),
        history: History::from_entries(starts),
    };
    let me = records::instance(node.identity.leader);
    (log, Replica::new(me, node.replication, recovered))
}

/// Reads what the journal has and did not replay, because a checkpoint came after it.
pub(crate) async fn fill(
    journal: &Journal,
    id: TopicPartition,
    found: &mut RecoveredLog,
) -> Result<(), ReadError> {
    let Some(local) = journal.local(id) else { return Ok(()) };
    if found.is_blank() && local.start > Offset::ZERO {
        found.begin_at(local.start);
    }
    if local.end > found.end {
        found.hole = Some(found.hole.as_ref().map_or(found.end, |hole| hole.start)..local.end);
        found.tail.clear();
    }
    let Some(hole) = found.hole.take() else { return Ok(()) };
    let mut headers = Vec::new();
    let mut next = hole.start;
    while next < hole.end {
        let runs = journal.read(id, next, hole.end, READ_BYTES).await?;
        for batch in runs.into_iter().flat_map(|run| tidelog_format::batch::split(run, usize::MAX)) {
            let Ok(batch) = batch else { break };
            let header = batch.header();
            next = header.next_offset();
            if header.producer_id.is_some() {
                let appended = header.max_timestamp;
                headers.push((header, appended));
            }
        }
    }
    headers.append(&mut found.tail);
    found.tail = headers;
    found.end = found.end.max(hole.end);
    Ok(())
}
