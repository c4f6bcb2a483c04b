//! Descriptors in a bucket: written under a fresh key for every version, read as the newest that is
//! sound.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;
use tidelog_format::descriptor::{ClusterDescriptor, PartitionDescriptor, Snapshot, TopicDescriptor};
use tidelog_format::key::{self, ObjectKey};
use tidelog_format::object::DecodeError;
use tidelog_model::{Incarnation, TopicId};

use crate::bucket::{Bucket, BucketError};
use crate::manifest::new_id;

/// Largest descriptor that is fetched.
pub const DESCRIPTOR_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How many versions of a descriptor are looked at when the newer ones are damaged.
const VERSIONS_TRIED: usize = 8;

/// An object that is there but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub key: String,
    pub what: String,
}

/// The newest sound descriptor, and the damaged ones above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest<T> {
    pub found: Option<T>,
    pub damaged: Vec<Damaged>,
}

/// The descriptors of a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Descriptors {
    bucket: Bucket,
}

impl Descriptors {
    pub fn new(bucket: Bucket) -> Self {
        Self { bucket }
    }

    pub async fn put_cluster(&self, descriptor: &ClusterDescriptor) -> Result<ObjectKey, BucketError> {
        self.put(descriptor.key(new_id()), descriptor.encode()).await
    }

    pub async fn put_topic(&self, descriptor: &TopicDescriptor) -> Result<ObjectKey, BucketError> {
        self.put(descriptor.key(new_id()), descriptor.encode()).await
    }

    pub async fn put_partition(&self, descriptor: &PartitionDescriptor) -> Result<ObjectKey, BucketError> {
        self.put(descriptor.key(new_id()), descriptor.encode()).await
    }

    pub async fn put_snapshot(&self, snapshot: &Snapshot) -> Result<ObjectKey, BucketError> {
        self.put(snapshot.key(new_id()), snapshot.encode()).await
    }

    /// The cluster that the bucket belongs to; nothing when the bucket is new.
    pub async fn cluster(&self) -> Result<Newest<ClusterDescriptor>, BucketError> {
        let mut versions = Versions::default();
        let mut listing = self.bucket.list(key::CLUSTER_PREFIX);
        while let Some(object) = listing.try_next().await? {
            if let Ok(ObjectKey::Cluster { incarnation, sequence, .. }) = object.key.parse() {
                versions.add(incarnation, sequence, object.key);
            }
        }
        self.newest(versions, ClusterDescriptor::decode).await
    }

    /// The highest incarnation of any cluster descriptor, sound or not: whoever writes or deletes stops
    /// when it is higher than its own.
    pub async fn incarnation(&self) -> Result<Option<Incarnation>, BucketError> {
        let mut highest = None;
        let mut listing = self.bucket.list(key::CLUSTER_PREFIX);
        while let Some(object) = listing.try_next().await? {
            if let Ok(ObjectKey::Cluster { incarnation, .. }) = object.key.parse() {
                highest = highest.max(Some(incarnation));
            }
        }
        Ok(highest)
    }

    /// The newest descriptor of every topic, tombstones included, in the order of topic ids.
    pub async fn topics(&self) -> Result<Vec<(TopicId, Newest<TopicDescriptor>)>, BucketError> {
        let mut topics: BTreeMap<TopicId, Versions> = BTreeMap::new();
        let mut listing = self.bucket.list(key::TOPICS_PREFIX);
        while let Some(object) = listing.try_next().await? {
            if let Ok(ObjectKey::Topic { topic, incarnation, sequence, .. }) = object.key.parse() {
                topics.entry(topic).or_default().add(incarnation, sequence, object.key);
            }
        }
        let mut found = Vec::with_capacity(topics.len());
        for (topic, versions) in topics {
            let newest = self.newest(versions, |bytes| TopicDescriptor::decode(bytes, topic)).await?;
            found.push((topic, newest));
        }
        Ok(found)
    }

    async fn put(&self, key: ObjectKey, bytes: Bytes) -> Result<ObjectKey, BucketError> {
        self.bucket.put(&key.to_string(), bytes).await?;
        Ok(key)
    }

    async fn newest<T>(
        &self,
        versions: Versions,
        decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Newest<T>, BucketError> {
        let mut damaged = Vec::new();
        for (_, _, key) in versions.newest.into_iter().rev() {
            let bytes = match self.bucket.get(&key, DESCRIPTOR_BYTES_MAX).await {
                Ok(bytes) => bytes,
                // Deleted between listing and reading.
                Err(BucketError::NotFound(_)) => continue,
                Err(error @ BucketError::Corrupt(_)) => {
                    damaged.push(Damaged { key, what: error.to_string() });
                    continue;
                }
                Err(error) => return Err(error),
            };
            match decode(&bytes) {
                Ok(descriptor) => return Ok(Newest { found: Some(descriptor), damaged }),
                Err(error) => damaged.push(Damaged { key, what: error.to_string() }),
            }
        }
        Ok(Newest { found: None, damaged })
    }
}

/// The newest few versions of one descriptor, oldest first.
#[derive(Debug, Default)]
struct Versions {
    newest: BTreeSet<(Incarnation, u64, String)>,
}

impl Versions {
    fn add(&mut self, incarnation: Incarnation, sequence: u64, key: String) {
        self.newest.insert((incarnation, sequence, key));
        if self.newest.len() > VERSIONS_TRIED {
            self.newest.pop_first();
        }
    }
}
