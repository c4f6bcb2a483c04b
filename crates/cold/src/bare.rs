//! What a bucket can do without Tidelog on top: the yardstick for offloads and replays.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::bucket::{Bucket, BucketError};

/// Work that was done, and the time it took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Measured {
    /// Megabytes (10^6) per second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Reads the first `object_bytes` of an object in ranges of `range_bytes`, `concurrency` at a time, and
/// drops what comes. Nothing is checked and nothing cached.
pub async fn ranged_gets(
    bucket: &Bucket,
    key: &str,
    object_bytes: u64,
    range_bytes: u64,
    concurrency: usize,
) -> Result<Measured, BucketError> {
    let start = Instant::now();
    let ranges = (0..object_bytes.div_ceil(range_bytes.max(1))).map(|number| {
        let at = number * range_bytes;
        at..(at + range_bytes).min(object_bytes)
    });
    let bytes = stream::iter(ranges)
        .map(|range| {
            let (bucket, key) = (bucket.clone(), key.to_owned());
            let get = async move { bucket.get_range(&key, range).await };
            async { joined(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(get)).await) }
        })
        .buffer_unordered(concurrency.max(1))
        .try_fold(0, |sum, range: Bytes| async move { Ok(sum + range.len() as u64) })
        .await?;
    Ok(Measured { bytes, elapsed: start.elapsed() })
}

/// Writes an object of `parts` parts, each of them `part`, `concurrency` at a time.
pub async fn multipart_put(
    bucket: &Bucket,
    key: &str,
    part: &Bytes,
    parts: usize,
    concurrency: usize,
) -> Result<Measured, BucketError> {
    let start = Instant::now();
    let mut upload = bucket.put_multipart(key).await?;
    let sending: Vec<_> = (0..parts).map(|_| upload.put_part(vec![part.clone()])).collect();
    let sent = stream::iter(sending)
        .map(|put| async { joined(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(put)).await) })
        .buffer_unordered(concurrency.max(1))
        .try_collect::<()>()
        .await;
    if let Err(error) = sent {
        // The first error is the one to report.
        let _ = upload.abort().await;
        return Err(error);
    }
    upload.complete().await?;
    Ok(Measured { bytes: (part.len() * parts) as u64, elapsed: start.elapsed() })
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => unreachable!("only dropping the handle aborts it"),
    }
}
