//! Manifest trees in a bucket: reads their nodes, looks offsets and timestamps up, publishes new roots.
//!
//! Publishing only writes new objects and returns the pointer that would make them current. Until
//! someone commits that pointer nothing has changed, and a crash leaves objects that nobody names.

use std::sync::Arc;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder};
use futures::future::{try_join, try_join_all};
use thiserror::Error;
use tidelog_format::manifest::{
    ENTRY_BYTES, Entry, Group, NODE_ENTRIES_MAX, Publication, PublicationError, Root, RootRef, Shape,
    StateRef, Step, find_offset, find_timestamp,
};
use tidelog_format::object::DecodeError;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::SegmentEntry;
use tidelog_format::state::PartitionState;
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TimestampMs, TopicPartition};
use uuid::Uuid;

use crate::bucket::{Bucket, BucketError};
use crate::flight::Flights;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

/// Largest node that is fetched, whatever a pointer or a parent says of its size.
pub const NODE_BYTES_MAX: u64 = (NODE_ENTRIES_MAX * ENTRY_BYTES + 64 * 1024) as u64;

/// Largest state object that is fetched.
pub const STATE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Why a manifest cannot be read or published.
#[derive(Clone, Debug, Error)]
pub enum ManifestError {
    #[error("{0}")]
    Bucket(#[from] BucketError),
    /// The object is not what it should be. Nothing of it is used.
    #[error("{key}: {source}")]
    Damaged { key: String, source: DecodeError },
    #[error("{key} would have {bytes} bytes, more than is read for such an object")]
    TooLarge { key: String, bytes: u64 },
    #[error("the manifest cannot go on like this: {0}")]
    Publication(#[from] PublicationError),
}

impl ManifestError {
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Bucket(error) => error.is_retryable(),
            Self::Damaged { .. } | Self::TooLarge { .. } | Self::Publication(_) => false,
        }
    }
}

#[derive(Clone, Debug)]
enum Node {
    Root(Arc<Root>),
    Group(Arc<Group>),
}

impl Node {
    fn memory_bytes(&self) -> usize {
        let entries = match self {
            Self::Root(root) => root.entries.capacity(),
            Self::Group(group) => group.entries.capacity(),
        };
        entries * size_of::<Entry>() + size_of::<Root>()
    }
}

/// What a leader publishes: segments that are in the bucket, and the state right behind them.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub tp: TopicPartition,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// The current pointer; `None` when the partition has none yet.
    pub previous: Option<&'a Pointer>,
    pub segments: &'a [SegmentEntry],
    /// Its end is the new tiered end.
    pub state: &'a PartitionState,
    pub log_start: Offset,
    pub now: TimestampMs,
}

/// The manifest trees of a bucket, with a bounded cache of their nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Manifests {
    bucket: Bucket,
    nodes: Cache<ObjectId, Node>,
    /// Nodes that are being fetched, each once however many want it.
    flights: Arc<Flights<ObjectId, Result<Node, ManifestError>>>,
    shape: Shape,
}

impl Manifests {
    /// `cache_bytes` bounds the memory that cached nodes take.
    pub fn new(bucket: Bucket, cache_bytes: usize) -> Self {
        Self::with_shape(bucket, cache_bytes, Shape::default())
    }

    /// With another shape than the format's, so that tests see deep trees.
    pub fn with_shape(bucket: Bucket, cache_bytes: usize, shape: Shape) -> Self {
        let nodes = CacheBuilder::new(cache_bytes)
            .with_name("manifest")
            .with_shards(1)
            .with_weighter(|_: &ObjectId, node: &Node| node.memory_bytes())
            .build();
        Self { bucket, nodes, flights: Arc::default(), shape }
    }

    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The root that `pointer` names.
    pub async fn root(&self, tp: TopicPartition, pointer: &Pointer) -> Result<Arc<Root>, ManifestError> {
        let (key, named) = (pointer.root_key(tp).to_string(), *pointer);
        let decode = move |bytes: &[u8]| Ok(Node::Root(Arc::new(Root::decode_expected(bytes, tp, &named)?)));
        match self.node(pointer.root, key, pointer.root_bytes.into(), decode).await? {
            Node::Root(root) => Ok(root),
            Node::Group(group) => Err(other_node(&group.key().to_string())),
        }
    }

    /// The group that `entry` names.
    pub async fn group(&self, tp: TopicPartition, entry: &Entry) -> Result<Arc<Group>, ManifestError> {
        let (key, named) = (entry.key(tp).to_string(), *entry);
        let decode =
            move |bytes: &[u8]| Ok(Node::Group(Arc::new(Group::decode_expected(bytes, tp, &named)?)));
        match self.node(entry.id, key, entry.object_bytes(), decode).await? {
            Node::Group(group) => Ok(group),
            Node::Root(root) => Err(other_node(&root.key().to_string())),
        }
    }

    async fn node(
        &self,
        id: ObjectId,
        key: String,
        bytes: u64,
        decode: impl Fn(&[u8]) -> Result<Node, DecodeError> + Send + Sync + 'static,
    ) -> Result<Node, ManifestError> {
        if let Some(cached) = self.nodes.get(&id) {
            return Ok(cached.value().clone());
        }
        let (bucket, nodes) = (self.bucket.clone(), self.nodes.clone());
        let fetch = || async move {
            let node = fetch(&bucket, &key, bytes, NODE_BYTES_MAX, decode).await?;
            nodes.insert(id, node.clone());
            Ok(node)
        };
        self.flights.join(id, fetch).await
    }

    /// The partition's state at the tiered end.
    pub async fn state(
        &self,
        tp: TopicPartition,
        pointer: &Pointer,
    ) -> Result<PartitionState, ManifestError> {
        let reference = self.root(tp, pointer).await?.state;
        let key = reference.key(tp).to_string();
        let decode = |bytes: &[u8]| {
            let state = PartitionState::decode(bytes, tp)?;
            let reason = "does not describe the offset that the root says";
            let invalid = DecodeError::Invalid { what: "partition state", field: "it", reason };
            if state.end == reference.offset { Ok(state) } else { Err(invalid) }
        };
        fetch(&self.bucket, &key, reference.bytes.into(), STATE_BYTES_MAX, decode).await
    }

    /// The segment that covers `offset`, or the first behind it; `None` past the tiered end.
    pub async fn find_offset(
        &self,
        tp: TopicPartition,
        pointer: &Pointer,
        offset: Offset,
    ) -> Result<Option<SegmentEntry>, ManifestError> {
        let root = self.root(tp, pointer).await?;
        let mut step = find_offset(&root.entries, offset);
        loop {
            match step {
                Step::Segment(segment) => return Ok(Some(segment)),
                Step::Nothing => return Ok(None),
                // Levels fall from node to child, so this ends.
                Step::Group(entry) => step = find_offset(&self.group(tp, &entry).await?.entries, offset),
            }
        }
    }

    /// The first segment, from offset `from` on, with a timestamp of `timestamp` or later. Its own
    /// index may show that it has it only below `from`; then the search goes on behind it.
    pub async fn find_timestamp(
        &self,
        tp: TopicPartition,
        pointer: &Pointer,
        timestamp: TimestampMs,
        mut from: Offset,
    ) -> Result<Option<SegmentEntry>, ManifestError> {
        let root = self.root(tp, pointer).await?;
        // Groups entered so far: where the search goes on once a group turns out to have nothing.
        let mut parents: Vec<Arc<Group>> = Vec::new();
        loop {
            let entries = parents.last().map_or(&root.entries, |group| &group.entries);
            match find_timestamp(entries, timestamp, from) {
                Step::Segment(segment) => return Ok(Some(segment)),
                Step::Group(entry) => parents.push(self.group(tp, &entry).await?),
                Step::Nothing => match parents.pop() {
                    Some(group) => from = from.max(group.entry().map_or(from, |entry| entry.next_offset())),
                    None => return Ok(None),
                },
            }
        }
    }

    /// Writes the state object, new groups and the new root, in an order that never lets a root name
    /// something that is not there. Returns the pointer to commit.
    pub async fn publish(&self, publish: Publish<'_>) -> Result<Pointer, ManifestError> {
        let Publish { tp, incarnation, epoch, .. } = publish;
        let previous = match publish.previous {
            Some(pointer) => Some((self.root(tp, pointer).await?, RootRef::from(pointer))),
            None => None,
        };
        let state_bytes = publish.state.encode(tp);
        let state = StateRef {
            incarnation,
            epoch,
            offset: publish.state.end,
            id: new_id(),
            bytes: u32::try_from(state_bytes.len()).unwrap_or(u32::MAX),
        };
        let publication = Publication {
            tp,
            incarnation,
            epoch,
            previous: previous.as_ref().map(|(root, reference)| (&**root, *reference)),
            segments: publish.segments,
            state,
            log_start: publish.log_start,
            now: publish.now,
            shape: self.shape,
        };
        let (root, groups) = publication.build(new_id)?;
        let put_state = self.put(state.key(tp).to_string(), state_bytes);
        let put_groups = groups.iter().map(|group| self.put(group.key().to_string(), group.encode()));
        try_join(put_state, try_join_all(put_groups)).await?;
        let root_bytes = root.encode();
        let pointer = root.pointer(u32::try_from(root_bytes.len()).expect("a root is small"));
        self.put(root.key().to_string(), root_bytes).await?;
        for group in groups {
            self.nodes.insert(group.id, Node::Group(Arc::new(group)));
        }
        self.nodes.insert(root.id, Node::Root(Arc::new(root)));
        Ok(pointer)
    }

    async fn put(&self, key: String, bytes: Bytes) -> Result<(), ManifestError> {
        Ok(self.bucket.put(&key, bytes).await?)
    }
}

/// The whole object, by its range, so that one of another size is noticed. What came damaged is got once
/// more: the connection's doing, or the store's, and only asking again tells it from damage.
async fn fetch<T>(
    bucket: &Bucket,
    key: &str,
    bytes: u64,
    most: u64,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError> + Send + Sync,
) -> Result<T, ManifestError> {
    if bytes > most {
        return Err(ManifestError::TooLarge { key: key.to_owned(), bytes });
    }
    let attempt = || async {
        let content = bucket.get_tail(key, bytes, bytes).await?;
        decode(&content).map_err(|source| ManifestError::Damaged { key: key.to_owned(), source })
    };
    match attempt().await {
        Err(ManifestError::Damaged { .. } | ManifestError::Bucket(BucketError::Corrupt(_))) => {
            attempt().await
        }
        other => other,
    }
}

/// A root and a group never share an id, unless someone made them to.
fn other_node(key: &str) -> ManifestError {
    let (field, reason) = ("its id", "is that of a node of another kind");
    ManifestError::Damaged {
        key: key.to_owned(),
        source: DecodeError::Invalid { what: "manifest node", field, reason },
    }
}

/// A fresh random object id.
pub fn new_id() -> ObjectId {
    ObjectId(Uuid::new_v4())
}
