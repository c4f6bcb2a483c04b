//! Turns a run of bytes into an object: one write when it is small, parts when it is not.

use bytes::Bytes;
use tidelog_model::TopicPartition;
use tokio::task::JoinSet;

use super::budget::Held;
use super::{Inner, PARTS_PER_SEGMENT};
use crate::bucket::{BucketError, Buffer, Multipart};
use crate::error::ColdError;

/// The first piece of memory a segment takes, and the largest. Pieces double in between, so that a
/// segment with little in it takes little.
const CHUNK_BYTES_MIN: usize = 16 * 1024;
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// The end of an object that is read back after it was written.
const VERIFIED_BYTES_MAX: usize = 64 * 1024;

type PartTasks = JoinSet<Result<(), BucketError>>;

/// An object that is being written. Unless it is finished, nothing of it stays in the bucket.
#[derive(Debug)]
pub(super) struct ObjectWriter {
    tier: std::sync::Arc<Inner>,
    tp: TopicPartition,
    key: String,
    /// The part being filled: full pieces, then the one that is growing.
    chunks: Vec<Bytes>,
    chunk: Option<Buffer>,
    /// The size of the next piece.
    chunk_bytes: usize,
    part_bytes: usize,
    held: Option<Held>,
    written: u64,
    multipart: Option<Multipart>,
    sending: PartTasks,
}

impl ObjectWriter {
    pub(super) fn new(tier: std::sync::Arc<Inner>, tp: TopicPartition, key: String) -> Self {
        Self {
            tier,
            tp,
            key,
            chunks: Vec::new(),
            chunk: None,
            chunk_bytes: CHUNK_BYTES_MIN,
            part_bytes: 0,
            held: None,
            written: 0,
            multipart: None,
            sending: JoinSet::new(),
        }
    }

    /// Appends `bytes`. `held` accounts for them.
    pub(super) async fn write(&mut self, mut bytes: &[u8], held: Held) -> Result<(), ColdError> {
        match &mut self.held {
            Some(mine) => mine.merge(held),
            none => *none = Some(held),
        }
        while !bytes.is_empty() {
            // A full part waits for more to come: what ends with it is one write, not one part.
            if self.part_bytes == self.tier.part_bytes {
                self.send_part().await?;
            }
            let fits = bytes.len().min(self.tier.part_bytes - self.part_bytes);
            self.fill(&bytes[..fits]);
            bytes = &bytes[fits..];
        }
        self.check_sent()
    }

    fn fill(&mut self, mut bytes: &[u8]) {
        self.part_bytes += bytes.len();
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let mut chunk = match self.chunk.take() {
                Some(chunk) if chunk.room() > 0 => chunk,
                full => {
                    self.chunks.extend(full.map(Buffer::freeze));
                    let next = self.chunk_bytes;
                    self.chunk_bytes = (2 * next).min(CHUNK_BYTES_MAX);
                    self.tier.buffers.take(next)
                }
            };
            let fits = bytes.len().min(chunk.room());
            chunk.extend(&bytes[..fits]);
            bytes = &bytes[fits..];
            self.chunk = Some(chunk);
        }
    }

    fn take_part(&mut self) -> (Vec<Bytes>, usize, Option<Held>) {
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.extend(self.chunk.take().map(Buffer::freeze));
        let bytes = std::mem::take(&mut self.part_bytes);
        // What is held beyond this part belongs to bytes that are still to be written.
        let all = self.held.as_ref().map_or(0, Held::num_permits);
        let held = if all > bytes {
            self.held.as_mut().and_then(|held| held.split(bytes))
        } else {
            self.held.take()
        };
        (chunks, bytes, held)
    }

    async fn send_part(&mut self) -> Result<(), ColdError> {
        while self.sending.len() >= PARTS_PER_SEGMENT {
            self.join_one().await?;
        }
        if self.multipart.is_none() {
            self.multipart = Some(self.tier.bucket.put_multipart(&self.key).await?);
        }
        let (chunks, bytes, held) = self.take_part();
        let multipart = self.multipart.as_mut().expect("it was just begun");
        let part = multipart.put_part(chunks);
        let tier = self.tier.clone();
        let moving = tier.memory.moving();
        self.sending.spawn(async move {
            let _slot = tier.requests.acquire().await;
            tier.bandwidth.admit(bytes).await;
            let sent = part.await;
            drop(held);
            drop(moving);
            sent
        });
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), ColdError> {
        match self.sending.join_next().await {
            Some(joined) => self.joined(joined),
            None => Ok(()),
        }
    }

    fn check_sent(&mut self) -> Result<(), ColdError> {
        while let Some(joined) = self.sending.try_join_next() {
            self.joined(joined)?;
        }
        Ok(())
    }

    fn joined(
        &self,
        joined: Result<Result<(), BucketError>, tokio::task::JoinError>,
    ) -> Result<(), ColdError> {
        match joined {
            Ok(sent) => Ok(sent?),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(ColdError::UploadFailed { tp: self.tp }),
        }
    }

    /// Writes what is left and makes the object; then reads its end back, which must be that of `tail`.
    /// An object that is there although an answer was lost counts as written.
    pub(super) async fn finish(mut self, tail: &[u8]) -> Result<(), ColdError> {
        let stored = if self.multipart.is_some() { self.complete().await } else { self.put_whole().await };
        if let Err(error) = &stored
            && !error.is_retryable()
        {
            return stored;
        }
        let verified = self.verify(tail).await;
        if verified.is_ok() {
            self.multipart = None;
        }
        match (stored, verified) {
            (_, Ok(())) => Ok(()),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    async fn put_whole(&mut self) -> Result<(), ColdError> {
        let (chunks, bytes, held) = self.take_part();
        let moving = self.tier.memory.moving();
        let _slot = self.tier.requests.acquire().await;
        self.tier.bandwidth.admit(bytes).await;
        let stored = self.tier.bucket.put_chunks(&self.key, chunks).await;
        drop((held, moving));
        Ok(stored?)
    }

    async fn complete(&mut self) -> Result<(), ColdError> {
        self.send_part().await?;
        while !self.sending.is_empty() {
            self.join_one().await?;
        }
        let multipart = self.multipart.as_mut().expect("a part was sent");
        Ok(multipart.complete().await?)
    }

    async fn verify(&self, tail: &[u8]) -> Result<(), ColdError> {
        let expected = &tail[tail.len() - tail.len().min(VERIFIED_BYTES_MAX)..];
        let found = self.tier.bucket.get_tail(&self.key, expected.len() as u64, self.written).await?;
        if found == expected {
            return Ok(());
        }
        let range = self.written - expected.len() as u64..self.written;
        let detail = "what was stored is not what was written".to_owned();
        Err(ColdError::Corrupt { key: self.key.clone(), range, detail })
    }
}

impl Drop for ObjectWriter {
    /// Parts of an object that never came to be cost money until someone deletes them.
    fn drop(&mut self) {
        let Some(mut multipart) = self.multipart.take() else { return };
        let mut sending = std::mem::take(&mut self.sending);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let key = std::mem::take(&mut self.key);
        let abort = async move {
            // A part that arrives after the abort would be left behind.
            sending.shutdown().await;
            if let Err(error) = multipart.abort().await {
                tracing::warn!(key, %error, "the parts of an unfinished upload may stay in the bucket");
            }
        };
        self.tier.aborts.spawn_on(abort, &runtime);
    }
}
