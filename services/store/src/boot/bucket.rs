//! Whose bucket it is.
//!
//! A bucket prefix belongs to one cluster. Nothing is written to it before its cluster descriptor was
//! read and found to be ours, or found missing and written.

use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;
use tidelog_cold::descriptor::{Damaged, Descriptors};
use tidelog_cold::{Bucket, BucketError, ProbeError};
use tidelog_format::descriptor::ClusterDescriptor;
use tidelog_meta::value::Cluster;
use tidelog_model::{ClusterId, ErrorCode, Incarnation, TimestampMs};
use tidelog_peer::StoreError;

use crate::error::of_bucket;

/// Why the bucket cannot be used by this cluster.
#[derive(Debug, Error)]
pub enum OwnerError {
    #[error(
        "the bucket belongs to cluster {found}, and this is cluster {ours}: give it another bucket or prefix"
    )]
    OtherCluster { ours: ClusterId, found: ClusterId },
    #[error(
        "the bucket belongs to cluster {found}, and the metadata store is empty: it was lost or is not \
         the one this bucket was used with"
    )]
    MetadataMissing { found: ClusterId },
    #[error(
        "the bucket is used by incarnation {found} of this cluster, and this is incarnation {ours}: the \
         cluster was recovered elsewhere"
    )]
    NewerIncarnation { ours: Incarnation, found: Incarnation },
    #[error("the bucket's cluster descriptor {key}: {what}")]
    Damaged { key: String, what: String },
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Unusable(#[from] ProbeError),
}

impl OwnerError {
    /// The bucket could not be asked, which says nothing about whose it is.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self::Bucket(error) = self else { return false };
        !matches!(error, BucketError::Invalid(_) | BucketError::NoBucket(_))
    }
}

/// Remembers that the bucket was found to be ours.
#[derive(Debug, Default)]
pub(crate) struct Owner {
    verified: AtomicBool,
}

impl Owner {
    /// Looks at the bucket unless that was done already.
    pub(crate) async fn verify(
        &self,
        bucket: &Bucket,
        cluster: &Cluster,
        now: TimestampMs,
    ) -> Result<(), StoreError> {
        if self.verified.load(Ordering::Relaxed) {
            return Ok(());
        }
        claim(bucket, cluster, now).await.map_err(|error| match error {
            OwnerError::Bucket(error) => of_bucket(&error),
            error => StoreError::new(ErrorCode::BucketUnavailable, error.to_string()),
        })?;
        self.verified.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn set_verified(&self) {
        self.verified.store(true, Ordering::Relaxed);
    }
}

/// Makes the bucket ours, or finds that it is.
pub(crate) async fn claim(bucket: &Bucket, cluster: &Cluster, now: TimestampMs) -> Result<(), OwnerError> {
    let Some(found) = newest(bucket).await? else {
        let descriptor = ClusterDescriptor {
            cluster: cluster.id,
            incarnation: cluster.incarnation,
            sequence: 1,
            written: now,
            created: cluster.created,
            metadata_revision: 0,
            software: concat!("tidelog ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        Descriptors::new(bucket.clone()).put_cluster(&descriptor).await?;
        return Ok(());
    };
    if found.cluster != cluster.id {
        return Err(OwnerError::OtherCluster { ours: cluster.id, found: found.cluster });
    }
    // Keys alone tell it too, even where the descriptor itself is damaged.
    let newest = Descriptors::new(bucket.clone()).incarnation().await?.unwrap_or(found.incarnation);
    if newest > cluster.incarnation {
        return Err(OwnerError::NewerIncarnation { ours: cluster.incarnation, found: newest });
    }
    Ok(())
}

/// The cluster descriptor that counts. One that cannot be read is not taken for a missing one.
pub(crate) async fn newest(bucket: &Bucket) -> Result<Option<ClusterDescriptor>, OwnerError> {
    let newest = Descriptors::new(bucket.clone()).cluster().await?;
    match (newest.found, newest.damaged.into_iter().next()) {
        (None, Some(Damaged { key, what })) => Err(OwnerError::Damaged { key, what }),
        (found, _) => Ok(found),
    }
}
