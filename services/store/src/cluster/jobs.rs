//! What replicas ask for that takes reading: the record, the pointer, the bucket's state, a batch that is
//! held.

use std::sync::Arc;
use std::time::Duration;

use tidelog_format::pointer::Pointer;
use tidelog_format::state::PartitionState;
use tidelog_meta::{MetaError, Revision, TypedMeta as _, keys};
use tidelog_model::{Offset, TopicPartition};
use tidelog_peer::StoreError;
use tidelog_replica::{EpochStart, Event, Span};
use tidelog_runtime::CancellationToken;

use crate::error::{of_cold, of_meta};
use crate::journal_sink::{self, SMALL_FRAME_BYTES};
use crate::node::Node;
use crate::partition::Partition;
use crate::partition::outside::Reset;
use crate::partition::step::{CutWritten, NoSink};

/// How often what could not be read is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// A log begins anew where the bucket ends: first with what the bucket knows of its producers there, then
/// without what the journal had of it.
pub(super) async fn reset(node: Arc<Node>, partition: Arc<Partition>, reset: Reset, stop: CancellationToken) {
    let id = partition.id;
    let Some((_, state)) = until_read(&node, id, &stop).await else { return };
    let generation = reset.generation;
    if !partition.begin_anew(reset, &state) {
        return;
    }
    let Ok(room) = node.journal.reserve(SMALL_FRAME_BYTES).await else { return };
    let epoch = partition.leadership().epoch;
    let done = CutWritten { partition, generation };
    journal_sink::cut(&node.journal, room, id, epoch, Offset::ZERO, node.clock.now(), done);
}

/// What the bucket has, for a leader from outside the in-sync replicas.
pub(super) async fn read_tiered(node: Arc<Node>, partition: Arc<Partition>, stop: CancellationToken) {
    let Some((pointer, state)) = until_read(&node, partition.id, &stop).await else { return };
    let start =
        |entry: &tidelog_format::state::EpochEntry| EpochStart { epoch: entry.epoch, start: entry.start };
    let history = state.epochs.iter().map(start).collect();
    let end = pointer.map_or(Offset::ZERO, |(pointer, _)| pointer.tiered_end);
    partition.feed(&node.journal, Event::Tiered { end, history }, None, node.clock.now()).await;
}

/// Compares a batch that was offered again with the one that is held.
pub(super) async fn compare(node: Arc<Node>, partition: Arc<Partition>, span: Span) {
    let held = partition.held(&node.journal, span.base).await;
    if held.is_some_and(|held| held != span) {
        partition.step(Event::OtherBytes { span }, None, &mut NoSink);
    }
}

/// The pointer and the bucket's state there; again and again until both can be read.
async fn until_read(
    node: &Node,
    id: TopicPartition,
    stop: &CancellationToken,
) -> Option<(Option<(Pointer, Revision)>, PartitionState)> {
    let mut told = false;
    while !stop.is_cancelled() {
        match read(node, id).await {
            Ok(found) => return Some(found),
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(partition = %id, %error, "what the bucket has of it cannot be read; trying again");
                }
                let _ = tokio::time::timeout(AGAIN, stop.cancelled()).await;
            }
        }
    }
    None
}

async fn read(
    node: &Node,
    id: TopicPartition,
) -> Result<(Option<(Pointer, Revision)>, PartitionState), StoreError> {
    let stored = pointer(node, id).await.map_err(|error| of_meta(&error))?;
    let state = match &stored {
        Some((pointer, _)) => node.cold.state(id, pointer).await.map_err(|error| of_cold(&error))?,
        None => PartitionState::default(),
    };
    Ok((stored, state))
}

async fn pointer(node: &Node, id: TopicPartition) -> Result<Option<(Pointer, Revision)>, MetaError> {
    let stored = node.meta.read(&keys::pointer(id)).await?;
    Ok(stored.map(|stored| (stored.value, stored.mod_revision)))
}
