//! The cold tier: segments and manifests in a bucket.
