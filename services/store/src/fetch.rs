//! Reading a partition: from the hot tier, or the way to the bucket.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tidelog_format::batch::Batch;
use tidelog_journal::ReadError;
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec, StoreError};
use tidelog_replica::Latest;
use tokio::time::Instant;

use crate::error::{of_cold, of_read};
use crate::node::Node;
use crate::partition::{Partition, not_leader};
use crate::rot;

/// How often a read starts over because the offset left the hot tier meanwhile. Each time the local
/// start has moved, so more than a few say that something is wrong.
const ROUNDS_MAX: usize = 8;

/// How long the in-sync replicas may take to confirm the leader, and how often that is looked at.
const LATEST_WAIT: Duration = Duration::from_secs(5);
const LATEST_AGAIN: Duration = Duration::from_millis(2);

/// Batches from an offset on; waits for some when there are none yet and the caller wants to.
pub(crate) async fn fetch(node: &Node, fetch: Fetch) -> Result<Fetched, StoreError> {
    let partition = node.catalog.partition(fetch.partition)?;
    let deadline = fetch.max_wait.map(|wait| Instant::now() + wait);
    loop {
        // From here on nothing that changes is missed.
        let mut changed = pin!(partition.changed());
        changed.as_mut().enable();
        let found = look(node, &partition, &fetch).await?;
        let (Fetched::Nothing { .. }, Some(deadline)) = (&found, deadline) else {
            return Ok(found);
        };
        if tokio::time::timeout_at(deadline, changed).await.is_err() {
            return Ok(found);
        }
    }
}

async fn look(node: &Node, partition: &Arc<Partition>, fetch: &Fetch) -> Result<Fetched, StoreError> {
    let id = fetch.partition;
    for _ in 0..ROUNDS_MAX {
        if fetch.follower {
            partition.check_holds()?;
        } else {
            partition.check_leads()?;
        }
        let marks = marks(node, partition);
        check_range(id, fetch.from, &marks)?;
        let end = marks.visible_end(fetch.isolation);
        if fetch.from >= end {
            return Ok(Fetched::Nothing { marks });
        }
        if fetch.from < marks.local_start {
            return tiered(partition, fetch.from, marks);
        }
        match node.journal.read(id, fetch.from, end, fetch.max_bytes).await {
            Ok(batches) if !batches.is_empty() => return Ok(Fetched::Batches { batches, marks }),
            Ok(_) | Err(ReadError::NotLocal { .. }) => {}
            // The bucket has the same records, undamaged.
            Err(ReadError::Corrupt { .. } | ReadError::Quarantined { .. })
                if fetch.from < marks.tiered_end =>
            {
                return tiered(partition, fetch.from, marks);
            }
            Err(error) => {
                let retired = rot::found(node, partition, &error).await;
                return Err(retired.unwrap_or_else(|| of_read(&error)));
            }
        }
    }
    let message = format!("{id}: offset {} should be in the hot tier and is not", fetch.from);
    Err(StoreError::new(ErrorCode::JournalCorrupt, message))
}

/// The partition's bounds now.
pub(crate) fn marks(node: &Node, partition: &Partition) -> Marks {
    partition.marks(node.journal.local_start(partition.id))
}

fn check_range(id: TopicPartition, offset: Offset, marks: &Marks) -> Result<(), StoreError> {
    if (marks.log_start..=marks.log_end).contains(&offset) {
        return Ok(());
    }
    let (start, end) = (marks.log_start, marks.log_end);
    let message = format!("{id}: offset {offset} is outside of what there is, {start} to {end}");
    Err(StoreError::new(ErrorCode::OffsetOutOfRange, message))
}

fn tiered(partition: &Partition, offset: Offset, marks: Marks) -> Result<Fetched, StoreError> {
    match partition.pointer() {
        Some(pointer) if offset < pointer.tiered_end => Ok(Fetched::Tiered { pointer, marks }),
        // A follower does not know what the bucket has.
        None if partition.check_leads().is_err() => Err(not_leader(partition.id)),
        _ => {
            let message = format!("{}: offset {offset} is neither local nor in the bucket", partition.id);
            Err(StoreError::new(ErrorCode::JournalCorrupt, message))
        }
    }
}

/// The offset that `spec` stands for.
pub(crate) async fn list_offset(
    node: &Node,
    id: TopicPartition,
    spec: OffsetSpec,
    isolation: Isolation,
) -> Result<Option<ListedOffset>, StoreError> {
    let partition = node.catalog.partition(id)?;
    partition.check_leads()?;
    let at = |offset| Ok(Some(ListedOffset { offset, timestamp: TimestampMs::NONE }));
    match spec {
        OffsetSpec::Start => at(marks(node, &partition).log_start),
        OffsetSpec::End => {
            let latest = latest(&partition).await?;
            at(latest.max(marks(node, &partition).visible_end(isolation)))
        }
        OffsetSpec::Timestamp(timestamp) => {
            let end = latest(&partition).await?;
            find_timestamp(node, &partition, timestamp, end).await
        }
    }
}

/// The high watermark, surely the newest: asks the in-sync replicas again until they have confirmed it.
async fn latest(partition: &Arc<Partition>) -> Result<Offset, StoreError> {
    let deadline = Instant::now() + LATEST_WAIT;
    loop {
        match partition.latest() {
            Latest::At(offset) => return Ok(offset),
            Latest::NotLeader => return Err(not_leader(partition.id)),
            Latest::Unconfirmed if Instant::now() >= deadline => {
                let message = format!("{}: the in-sync replicas do not confirm the leader", partition.id);
                return Err(StoreError::new(ErrorCode::LeaderNotAvailable, message));
            }
            // Acknowledgements confirm it, of which only some change anything else.
            Latest::Unconfirmed => drop(tokio::time::timeout(LATEST_AGAIN, partition.changed()).await),
        }
    }
}

/// The first record below `end` whose timestamp is at or after `timestamp`.
async fn find_timestamp(
    node: &Node,
    partition: &Partition,
    timestamp: TimestampMs,
    end: Offset,
) -> Result<Option<ListedOffset>, StoreError> {
    let marks = marks(node, partition);
    let mut from = marks.local_start;
    // The hot tier answers alone when it has the whole log; else older records come first.
    if marks.local_start > marks.log_start
        && let Some(pointer) = partition.pointer()
    {
        let found = node.cold.find_timestamp(partition.id, &pointer, timestamp).await;
        if let Some(found) = found.map_err(|error| of_cold(&error))? {
            return Ok(Some(ListedOffset { offset: found.offset, timestamp: found.timestamp }));
        }
        from = from.max(pointer.tiered_end);
    }
    while from < end {
        let found = node.journal.find_timestamp(partition.id, timestamp, from, end).await;
        let Some(bytes) = found.map_err(|error| of_read(&error))? else {
            return Ok(None);
        };
        let batch = Batch::parse(bytes).map_err(|error| damaged(partition.id, &error))?;
        if let Some(found) = first_in(partition.id, &batch, timestamp, from)? {
            return Ok(Some(found));
        }
        // The producer's header promised a timestamp that none of its records has.
        from = batch.next_offset();
    }
    Ok(None)
}

fn first_in(
    id: TopicPartition,
    batch: &Batch,
    timestamp: TimestampMs,
    from: Offset,
) -> Result<Option<ListedOffset>, StoreError> {
    for record in batch.records().map_err(|error| damaged(id, &error))? {
        let record = record.map_err(|error| damaged(id, &error))?;
        if record.timestamp >= timestamp && record.offset >= from {
            return Ok(Some(ListedOffset { offset: record.offset, timestamp: record.timestamp }));
        }
    }
    Ok(None)
}

fn damaged(id: TopicPartition, error: &tidelog_format::batch::BatchError) -> StoreError {
    StoreError::new(ErrorCode::CorruptMessage, format!("{id}: {error}"))
}
