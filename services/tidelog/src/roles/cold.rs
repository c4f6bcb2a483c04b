//! The bucket, and the frontend's view of it: the cold reader, with pointers from the metadata store.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tidelog_cold::{
    BatchStream, Bucket, BucketOptions, CacheConfig, ColdError, ColdReader, DiskCache, PointerSource,
    ReadOptions,
};
use tidelog_format::pointer::Pointer;
use tidelog_frontend::{ColdBatches, ColdSource};
use tidelog_meta::{SharedMeta, TypedMeta as _, keys};
use tidelog_model::{ErrorCode, Offset, TopicPartition};

use async_trait::async_trait;
use bytes::Bytes;
use tidelog_peer::StoreError;

use crate::settings::Settings;

/// Opens the bucket, with a cache below the data directory.
pub async fn open(settings: &Settings, url: &str, data_dir: &Path) -> anyhow::Result<(Bucket, ColdReader)> {
    let options = BucketOptions { checksum: settings.s3_checksum.0, ..BucketOptions::default() };
    let bucket = Bucket::open(url, &options).await.context("the bucket cannot be opened")?;
    let cache = CacheConfig {
        memory_bytes: settings.cache_memory_bytes.as_usize(),
        disk: Some(settings.cache_disk_bytes.0)
            .filter(|bytes| *bytes > 0)
            .map(|bytes| DiskCache { directory: data_dir.join("cache"), bytes }),
        ..CacheConfig::default()
    };
    let cold = ColdReader::new(bucket.clone(), cache).await.context("the cache of the bucket")?;
    Ok((bucket, cold))
}

/// Reads partitions from the bucket, and looks their pointers up when an object has gone meanwhile.
pub struct Cold {
    reader: ColdReader,
    pointers: Arc<MetaPointers>,
}

impl Cold {
    pub fn new(reader: ColdReader, meta: SharedMeta) -> Self {
        Self { reader, pointers: Arc::new(MetaPointers(meta)) }
    }
}

impl ColdSource for Cold {
    fn stream(&self, partition: TopicPartition, pointer: Pointer, from: Offset) -> Box<dyn ColdBatches> {
        let pointers: Arc<dyn PointerSource> = self.pointers.clone();
        let options = ReadOptions { pointers: Some(pointers), ..ReadOptions::default() };
        Box::new(Batches(self.reader.stream(partition, pointer, from, options)))
    }
}

struct MetaPointers(SharedMeta);

#[async_trait]
impl PointerSource for MetaPointers {
    async fn pointer(&self, partition: TopicPartition) -> Option<Pointer> {
        match self.0.read(&keys::pointer(partition)).await {
            Ok(stored) => stored.map(|stored| stored.value),
            Err(error) => {
                tracing::warn!(%partition, %error, "the pointer could not be read");
                None
            }
        }
    }
}

struct Batches(BatchStream);

#[async_trait]
impl ColdBatches for Batches {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        Some(self.0.next().await?.map_err(|error| StoreError::new(code_of(&error), error.to_string())))
    }
}

fn code_of(error: &ColdError) -> ErrorCode {
    match error {
        ColdError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        error if error.is_damage() => ErrorCode::BucketCorrupt,
        _ => ErrorCode::BucketUnavailable,
    }
}
