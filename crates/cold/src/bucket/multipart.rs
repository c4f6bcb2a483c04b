//! An object that is written in parts.

use std::future::Future;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;

use super::error::{BucketError, Operation};

/// A multipart upload that has begun. It leaves parts behind in the bucket unless it is completed or
/// aborted.
#[derive(Debug)]
pub(crate) struct Multipart {
    key: String,
    /// Never locked: the mutex makes the whole shareable, so that futures which hold it may move between
    /// threads.
    upload: Mutex<Box<dyn MultipartUpload>>,
}

impl Multipart {
    pub(super) async fn begin(store: &dyn ObjectStore, path: &Path, key: &str) -> Result<Self, BucketError> {
        match store.put_multipart(path).await {
            Ok(upload) => Ok(Self { key: key.to_owned(), upload: Mutex::new(upload) }),
            Err(error) => Err(BucketError::from_store(Operation::Write, key, &error)),
        }
    }

    /// Writes the next part; all but the last have the same size, of 5 MiB or more. The order of calls
    /// is the order of parts; the futures may run at the same time.
    pub(crate) fn put_part(
        &mut self,
        chunks: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), BucketError>> + Send + use<> {
        let part = self.upload.get_mut().put_part(chunks.into_iter().collect());
        let key = self.key.clone();
        async move { part.await.map_err(|error| BucketError::from_store(Operation::Write, &key, &error)) }
    }

    /// Makes the object of its parts, all of which have been written.
    pub(crate) async fn complete(&mut self) -> Result<(), BucketError> {
        let completed = self.upload.get_mut().complete().await;
        completed.map(drop).map_err(|error| BucketError::from_store(Operation::Write, &self.key, &error))
    }

    /// Gives up what was written.
    pub(crate) async fn abort(&mut self) -> Result<(), BucketError> {
        let aborted = self.upload.get_mut().abort().await;
        aborted.map_err(|error| BucketError::from_store(Operation::Delete, &self.key, &error))
    }
}
