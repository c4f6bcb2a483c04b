//! One pass over the bucket's keys: which partitions there are, their newest roots, and how much of
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use tidelog_format::descriptor::{ClusterDescriptor, TopicDescriptor};
use tidelog_format::key::{ObjectKey, roots_prefix};
use tidelog_format::manifest::Root;
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, PartitionId, TopicId, TopicPartition};

use super::{InspectError, Problem};
use crate::bucket::{Bucket, BucketError};
use crate::descriptor::{Damaged, Descriptors, Newest};
use crate::manifest::NODE_BYTES_MAX;

/// How many of a partition's roots are tried when the newer ones are damaged.
const ROOTS_TRIED: usize = 16;

/// How many objects and bytes of one kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) objects: u64,
    pub(super) bytes: u64,
}

impl Count {
    pub(super) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// A root by what its key says; ordered as they were published.
type RootName = (Incarnation, LeaderEpoch, u64, ObjectId);

/// What the keys say of one partition.
#[derive(Debug, Default)]
pub(super) struct PartitionKeys {
    /// The newest roots.
    roots: BTreeSet<RootName>,
    /// Segments, groups and state objects.
    pub(super) stored: Count,
}

/// What the keys and descriptors of a bucket say.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) cluster: Option<ClusterDescriptor>,
    /// Highest incarnation of any key.
    pub(super) incarnation: Option<Incarnation>,
    pub(super) topics: BTreeMap<TopicId, Option<TopicDescriptor>>,
    pub(super) partitions: BTreeMap<TopicPartition, PartitionKeys>,
    pub(super) all: Count,
    /// Objects whose keys are not of this layout.
    pub(super) foreign: Count,
    pub(super) problems: Vec<Problem>,
}

impl Survey {
    /// The whole bucket.
    pub(super) async fn take(bucket: &Bucket) -> Result<Self, InspectError> {
        let mut survey = Self::described(bucket).await?;
        survey.list(bucket, "").await?;
        Ok(survey)
    }

    /// What the roots of one partition say; of the rest, only descriptors are looked at. `topic` is a
    /// name or an id, and an id needs no descriptor.
    pub(super) async fn of_partition(
        bucket: &Bucket,
        topic: &str,
        partition: PartitionId,
    ) -> Result<(TopicPartition, Option<PartitionKeys>), InspectError> {
        let mut survey = Self::described(bucket).await?;
        if let Ok(id) = topic.parse() {
            survey.topics.entry(id).or_insert(None);
        }
        let tp = TopicPartition { topic: survey.select_one(topic)?, partition };
        survey.list(bucket, &roots_prefix(tp)).await?;
        Ok((tp, survey.partitions.remove(&tp)))
    }

    async fn described(bucket: &Bucket) -> Result<Self, InspectError> {
        let descriptors = Descriptors::new(bucket.clone());
        let cluster = descriptors.cluster().await?;
        let topics = descriptors.topics().await?;
        let mut survey = Self {
            cluster: None,
            incarnation: None,
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            all: Count::default(),
            foreign: Count::default(),
            problems: Vec::new(),
        };
        survey.cluster = survey.note(cluster);
        for (topic, newest) in topics {
            let newest = survey.note(newest);
            survey.topics.insert(topic, newest);
        }
        Ok(survey)
    }

    async fn list(&mut self, bucket: &Bucket, prefix: &str) -> Result<(), InspectError> {
        let mut listing = bucket.list(prefix);
        while let Some(object) = listing.try_next().await? {
            self.all.add(object.bytes);
            match object.key.parse() {
                Ok(key) => self.add(&key, object.bytes),
                Err(_) => self.foreign.add(object.bytes),
            }
        }
        Ok(())
    }

    fn note<T>(&mut self, newest: Newest<T>) -> Option<T> {
        let damaged = |Damaged { key, what }| Problem::new(super::ProblemKind::Damaged, what).at(key);
        self.problems.extend(newest.damaged.into_iter().map(damaged));
        newest.found
    }

    fn add(&mut self, key: &ObjectKey, bytes: u64) {
        self.incarnation = self.incarnation.max(Some(key.incarnation()));
        let Some(tp) = key.partition() else { return };
        self.topics.entry(tp.topic).or_insert(None);
        let partition = self.partitions.entry(tp).or_default();
        match *key {
            ObjectKey::Root { incarnation, epoch, sequence, id, .. } => {
                partition.roots.insert((incarnation, epoch, sequence, id));
                if partition.roots.len() > ROOTS_TRIED {
                    partition.roots.pop_first();
                }
            }
            ObjectKey::Segment { .. } | ObjectKey::Group { .. } | ObjectKey::State { .. } => {
                partition.stored.add(bytes);
            }
            _ => {}
        }
    }

    /// The topics that `name` means: all, the one with that id, or those with that name.
    pub(super) fn select(&self, name: Option<&str>) -> Result<BTreeSet<TopicId>, InspectError> {
        let Some(name) = name else {
            return Ok(self.topics.keys().copied().collect());
        };
        let named = |(_, descriptor): &(&TopicId, &Option<TopicDescriptor>)| {
            descriptor.as_ref().is_some_and(|descriptor| descriptor.name.as_str() == name)
        };
        let mut found: BTreeSet<TopicId> = self.topics.iter().filter(named).map(|(id, _)| *id).collect();
        let id = name.parse().ok().filter(|id| self.topics.contains_key(id));
        found.extend(id);
        if found.is_empty() { Err(InspectError::NoSuchTopic(name.to_owned())) } else { Ok(found) }
    }

    /// The one topic that `name` means. Of several with one name, the one that still exists.
    pub(super) fn select_one(&self, name: &str) -> Result<TopicId, InspectError> {
        let mut found = self.select(Some(name))?;
        if found.len() > 1 {
            found
                .retain(|id| self.topics[id].as_ref().is_some_and(|descriptor| descriptor.deleted.is_none()));
        }
        if let (Some(topic), true) = (found.pop_first(), found.is_empty()) {
            return Ok(topic);
        }
        let ids: Vec<String> = self.select(Some(name))?.iter().map(ToString::to_string).collect();
        Err(InspectError::AmbiguousTopic { name: name.to_owned(), ids: ids.join(", ") })
    }
}

/// A partition's newest sound root.
#[derive(Debug)]
pub(super) struct OpenRoot {
    pub(super) root: Root,
    /// Size of the root object.
    pub(super) bytes: u32,
}

impl PartitionKeys {
    pub(super) fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The newest root that can be used, and what is wrong with those above it.
    pub(super) async fn newest_root(
        &self,
        bucket: &Bucket,
        tp: TopicPartition,
    ) -> Result<(Option<OpenRoot>, Vec<Problem>), InspectError> {
        let mut problems = Vec::new();
        for &(incarnation, epoch, sequence, id) in self.roots.iter().rev() {
            let key = ObjectKey::Root { tp, incarnation, epoch, sequence, id };
            let content = match bucket.get(&key.to_string(), NODE_BYTES_MAX).await {
                Ok(content) => content,
                // Deleted between listing and reading.
                Err(BucketError::NotFound(_)) => continue,
                Err(error) => {
                    problems.push(Problem::of_bucket(error)?.at(key).of(tp));
                    continue;
                }
            };
            match Root::decode(&content) {
                Ok(root) if root.key() == key => {
                    let bytes = u32::try_from(content.len()).unwrap_or(u32::MAX);
                    return Ok((Some(OpenRoot { root, bytes }), problems));
                }
                Ok(root) => {
                    let what = format!("it holds the root that belongs at {}", root.key());
                    problems.push(Problem::new(super::ProblemKind::Damaged, what).at(key).of(tp));
                }
                Err(error) => problems.push(Problem::of_decoding(&error).at(key).of(tp)),
            }
        }
        Ok((None, problems))
    }
}
