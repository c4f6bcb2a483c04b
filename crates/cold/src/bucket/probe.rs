//! Finding out at start-up whether a bucket does what is needed of it, and if not, what is wrong.

use std::fmt;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::ready;
use thiserror::Error;
use uuid::Uuid;

use super::error::{BucketError, Operation};
use super::{Bucket, ObjectInfo};

/// Below it: objects of probes. They are deleted at once; one that is left over means nothing.
const PROBE_PREFIX: &str = "probe/";

/// What a probe does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    Write,
    ReadBack,
    ReadRange,
    List,
    Delete,
}

impl fmt::Display for ProbeStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "writing a small object",
            Self::ReadBack => "reading it back",
            Self::ReadRange => "reading a part of it",
            Self::List => "listing it",
            Self::Delete => "deleting it",
        })
    }
}

/// Why a bucket cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the bucket {url} cannot be used; {step} failed: {source}")]
pub struct ProbeError {
    pub url: String,
    pub step: ProbeStep,
    pub source: BucketError,
}

impl ProbeError {
    pub fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

impl Bucket {
    /// Writes, reads, lists and deletes a small object. What refuses to be written but lets itself be
    /// listed is reported as read-only.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let failed = |step, source| ProbeError { url: self.url().to_owned(), step, source };
        let key = format!("{PROBE_PREFIX}{}", Uuid::new_v4().simple());
        let content = Bytes::from(format!("tidelog probe {key}"));
        if let Err(error) = self.put(&key, content.clone()).await {
            return Err(failed(ProbeStep::Write, self.explain_refusal(error).await));
        }
        let checked = self.probe_reads(&key, &content).await.map_err(|(step, error)| failed(step, error));
        let deleted = self.delete(&key).await.map_err(|error| failed(ProbeStep::Delete, error));
        checked.and(deleted)
    }

    async fn probe_reads(&self, key: &str, content: &Bytes) -> Result<(), (ProbeStep, BucketError)> {
        let same = |step, found: Bytes, wanted: &[u8]| {
            if found == wanted {
                return Ok(());
            }
            Err((step, BucketError::corrupt(Operation::Read, key, "not what was written")))
        };
        let bytes = content.len() as u64;
        let step = ProbeStep::ReadBack;
        let whole = self.get(key, bytes).await.map_err(|error| (step, error))?;
        same(step, whole, content)?;
        let step = ProbeStep::ReadRange;
        let part = self.get_range(key, 8..13).await.map_err(|error| (step, error))?;
        same(step, part, &content[8..13])?;
        let step = ProbeStep::List;
        let ours = |object: ObjectInfo| ready(object.key == key && object.bytes == bytes);
        let listed = self.list(PROBE_PREFIX).try_any(ours).await.map_err(|error| (step, error))?;
        let missing = || (step, BucketError::corrupt(Operation::List, PROBE_PREFIX, "it is not listed"));
        if listed { Ok(()) } else { Err(missing()) }
    }

    /// A refused write where listing is allowed means that the bucket is read-only to us.
    async fn explain_refusal(&self, error: BucketError) -> BucketError {
        let BucketError::Denied(subject) = error else { return error };
        let listed = self.list(PROBE_PREFIX).try_next().await;
        if listed.is_ok() { BucketError::ReadOnly(subject) } else { BucketError::Denied(subject) }
    }
}

impl From<ProbeError> for BucketError {
    fn from(error: ProbeError) -> Self {
        error.source
    }
}
