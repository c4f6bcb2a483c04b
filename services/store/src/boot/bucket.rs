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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: TimestampMs = TimestampMs(7);

    fn cluster(incarnation: u32) -> Cluster {
        Cluster {
            id: ClusterId::from_bytes([9; 16]),
            incarnation: Incarnation(incarnation),
            created: TimestampMs(5),
        }
    }

    /// A descriptor of a life of the cluster, as somebody else would leave it.
    async fn describe(bucket: &Bucket, incarnation: u32, sequence: u64) -> String {
        let Cluster { id, incarnation, created } = cluster(incarnation);
        let descriptor = ClusterDescriptor {
            cluster: id,
            incarnation,
            sequence,
            written: NOW,
            created,
            metadata_revision: 0,
            software: "elsewhere".to_owned(),
        };
        Descriptors::new(bucket.clone()).put_cluster(&descriptor).await.unwrap().to_string()
    }

    #[tokio::test]
    async fn a_new_bucket_becomes_ours_and_stays_it() {
        let bucket = Bucket::in_memory();
        for _ in 0..2 {
            claim(&bucket, &cluster(1), NOW).await.unwrap();
        }
        let other = Cluster { id: ClusterId::from_bytes([8; 16]), ..cluster(1) };
        let error = claim(&bucket, &other, NOW).await.unwrap_err();
        assert!(matches!(error, OwnerError::OtherCluster { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_later_life_of_the_cluster_is_noticed_by_its_key_even_when_damaged() {
        let bucket = Bucket::in_memory();
        claim(&bucket, &cluster(1), NOW).await.unwrap();
        let later = describe(&bucket, 2, 1).await;
        bucket.put(&later, Bytes::from_static(b"damaged")).await.unwrap();
        assert_eq!(newest(&bucket).await.unwrap().unwrap().incarnation, Incarnation(1), "the sound one");
        let error = claim(&bucket, &cluster(1), NOW).await.unwrap_err();
        let OwnerError::NewerIncarnation { ours, found } = error else { panic!("{error}") };
        assert_eq!((ours, found), (Incarnation(1), Incarnation(2)));
        claim(&bucket, &cluster(2), NOW).await.unwrap();
    }

    #[tokio::test]
    async fn a_bucket_whose_only_descriptor_is_damaged_is_nobodys_to_take() {
        let bucket = Bucket::in_memory();
        let key = describe(&bucket, 1, 1).await;
        bucket.put(&key, Bytes::from_static(b"damaged")).await.unwrap();
        let error = claim(&bucket, &cluster(1), NOW).await.unwrap_err();
        assert!(matches!(&error, OwnerError::Damaged { key: named, .. } if *named == key), "{error}");
    }
}
