//! A bucket by URL: whole and ranged reads, checked writes, listings, deletes.
//!
//! Everything that is known of object stores' clients stays in this module; the rest of the crate
//! speaks of keys, bytes and [`BucketError`]s. Requests are retried here, a bounded number of times;
//! an error that comes out has outlived that.
//!
//! Keys are those of [`tidelog_format::key`], below the prefix that the URL gives.

mod buffers;
mod credentials;
mod error;
mod listing;
mod multipart;
mod open;
mod options;
mod probe;

#[cfg(any(test, feature = "faults"))]
pub mod faults;
#[cfg(test)]
mod http_tests;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};
use tidelog_model::TimestampMs;

pub(crate) use buffers::{Buffer, Buffers};
pub use error::{BucketError, Operation, Subject};
pub use listing::Objects;
pub(crate) use multipart::Multipart;
pub use options::{BucketOptions, IDLE_CONNECTIONS, UploadChecksum};
pub use probe::{ProbeError, ProbeStep};

/// What a bucket tells of an object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: String,
    pub bytes: u64,
    /// By the bucket's clock.
    pub last_modified: TimestampMs,
}

/// A handle to a bucket. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
    /// Whether the store lists keys in their order by itself.
    ordered: bool,
    buffers: Buffers,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.url).finish()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Bucket {
    /// Opens the bucket at `url`: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///directory` (made
    /// when it is missing), or `memory://` (a new, empty one each time). Nothing is sent yet; see
    /// [`Bucket::probe`].
    pub async fn open(url: &str, options: &BucketOptions) -> Result<Self, BucketError> {
        let opened = open::open(url, options).await?;
        let (store, prefix, ordered) = (opened.store, opened.prefix, opened.ordered);
        Ok(Self { store, prefix, url: url.into(), ordered, buffers: Buffers::default() })
    }

    /// A new, empty bucket in memory.
    pub fn in_memory() -> Self {
        let store = Arc::new(object_store::memory::InMemory::new());
        let (url, prefix) = ("memory://".into(), Path::default());
        Self { store, prefix, url, ordered: true, buffers: Buffers::default() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The whole object, which must not be larger than `bytes_max`.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Bytes, BucketError> {
        let (bytes, _) = self.fetch(key, None, bytes_max).await?;
        Ok(bytes)
    }

    /// Exactly the bytes of `range`; an object that does not reach so far is an error.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, BucketError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let bytes_max = range.end - range.start;
        let (bytes, _) = self.fetch(key, Some(range), bytes_max).await?;
        Ok(bytes)
    }

    /// The last `bytes` bytes of an object that must have exactly `object_bytes`.
    pub(crate) async fn get_tail(
        &self,
        key: &str,
        bytes: u64,
        object_bytes: u64,
    ) -> Result<Bytes, BucketError> {
        let range = object_bytes.saturating_sub(bytes)..object_bytes;
        let (tail, found) = self.fetch(key, Some(range), bytes).await?;
        if found != object_bytes {
            let detail = format!("the object has {found} bytes instead of {object_bytes}");
            return Err(BucketError::corrupt(Operation::Read, key, detail));
        }
        Ok(tail)
    }

    /// Writes a whole object; the store verifies its checksum. Replaces what is there, so keys are
    /// never used twice.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BucketError> {
        self.put_chunks(key, vec![bytes]).await
    }

    /// [`Bucket::put`] of content that lies in pieces.
    pub(crate) async fn put_chunks(&self, key: &str, chunks: Vec<Bytes>) -> Result<(), BucketError> {
        let path = self.path(Operation::Write, key)?;
        let result = self.store.put(&path, chunks.into_iter().collect()).await;
        result.map(drop).map_err(|error| BucketError::from_store(Operation::Write, key, &error))
    }

    /// Begins an object that is written in parts.
    pub(crate) async fn put_multipart(&self, key: &str) -> Result<Multipart, BucketError> {
        let path = self.path(Operation::Write, key)?;
        Multipart::begin(&*self.store, &path, key).await
    }

    /// Size and age of an object.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, BucketError> {
        let path = self.path(Operation::Stat, key)?;
        match self.store.head(&path).await {
            Ok(meta) => Ok(self.info(&meta)),
            Err(error) => Err(BucketError::from_store(Operation::Stat, key, &error)),
        }
    }

    /// The objects below `prefix`, which is empty or ends with `/`, in the order of their keys. Pages
    /// are fetched as the stream is read.
    pub fn list(&self, prefix: &str) -> Objects {
        listing::list(self, prefix, None)
    }

    /// [`Bucket::list`], from the first key after `after` on.
    pub fn list_after(&self, prefix: &str, after: &str) -> Objects {
        listing::list(self, prefix, Some(after))
    }

    /// Deletes an object. One that is not there is no error.
    pub async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let path = self.path(Operation::Delete, key)?;
        match self.store.delete(&path).await {
            Ok(()) => Ok(()),
            Err(error) => match BucketError::from_store(Operation::Delete, key, &error) {
                BucketError::NotFound(_) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// The bytes of `range`, or all, and the size of the whole object. Never holds more than
    /// `bytes_max`, whatever the store sends.
    async fn fetch(
        &self,
        key: &str,
        range: Option<Range<u64>>,
        bytes_max: u64,
    ) -> Result<(Bytes, u64), BucketError> {
        const READ: Operation = Operation::Read;
        let path = self.path(READ, key)?;
        let failed = |error: object_store::Error| BucketError::from_store(READ, key, &error);
        let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
        let result = self.store.get_opts(&path, options).await.map_err(failed)?;
        let object_bytes = result.meta.size;
        let wanted = match range {
            Some(range) if range != result.range => {
                let detail = format!("asked for bytes {range:?} and was given {:?}", result.range);
                return Err(BucketError::corrupt(READ, key, detail));
            }
            Some(range) => range.end - range.start,
            None => object_bytes,
        };
        if wanted > bytes_max {
            let detail = format!("the object has {wanted} bytes, more than the {bytes_max} it may have");
            return Err(BucketError::corrupt(READ, key, detail));
        }
        let bytes = match result.payload {
            GetResultPayload::Stream(stream) => collect(key, stream, wanted, &self.buffers).await?,
            GetResultPayload::File(..) => result.bytes().await.map_err(failed)?,
        };
        if bytes.len() as u64 != wanted {
            let detail = format!("{} bytes came instead of {wanted}", bytes.len());
            return Err(BucketError::corrupt(READ, key, detail));
        }
        Ok((bytes, object_bytes))
    }

    fn path(&self, operation: Operation, key: &str) -> Result<Path, BucketError> {
        let path = if self.prefix.is_root() {
            Path::parse(key)
        } else {
            Path::parse(format!("{}/{key}", self.prefix))
        };
        path.map_err(|error| BucketError::from_store(operation, key, &error.into()))
    }

    fn info(&self, meta: &ObjectMeta) -> ObjectInfo {
        ObjectInfo {
            key: self.key_of(&meta.location),
            bytes: meta.size,
            last_modified: TimestampMs(meta.last_modified.timestamp_millis()),
        }
    }

    /// The key of an object at `path`, without the bucket's prefix.
    fn key_of(&self, path: &Path) -> String {
        let path = path.as_ref();
        let below = path.strip_prefix(self.prefix.as_ref()).unwrap_or(path);
        below.trim_start_matches('/').to_owned()
    }
}

/// Puts a body together in one buffer of the size it must have.
async fn collect(
    key: &str,
    mut body: futures::stream::BoxStream<'static, object_store::Result<Bytes>>,
    wanted: u64,
    buffers: &Buffers,
) -> Result<Bytes, BucketError> {
    let failed = |error: object_store::Error| BucketError::from_store(Operation::Read, key, &error);
    let Some(first) = body.next().await.transpose().map_err(failed)? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 >= wanted {
        return Ok(first);
    }
    let mut whole = buffers.take(usize::try_from(wanted).unwrap_or(usize::MAX));
    whole.extend(&first);
    drop(first);
    while let Some(chunk) = body.try_next().await.map_err(failed)? {
        if (whole.len() + chunk.len()) as u64 > wanted {
            let detail = format!("more than the {wanted} bytes that were asked for");
            return Err(BucketError::corrupt(Operation::Read, key, detail));
        }
        whole.extend(&chunk);
    }
    Ok(whole.freeze())
}
