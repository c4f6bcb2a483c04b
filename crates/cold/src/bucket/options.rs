//! How a bucket is reached.

use std::time::Duration;

/// Idle connections kept per host. A replay runs 16 requests at a time, uploads run beside it, and a
/// connection that has to be opened anew costs more than one that lies idle.
pub const IDLE_CONNECTIONS: usize = 128;

/// A checksum that is sent along with what is written, for the server to verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UploadChecksum {
    /// What S3 itself prefers, and the cheapest to compute.
    #[default]
    Crc64Nvme,
    Sha256,
    /// For servers that refuse checksums they do not know. The request's signature still covers the
    /// content.
    None,
}

/// Options of [`Bucket::open`](super::Bucket::open). The defaults serve every store; what is not set
/// here comes from the environment (for S3 the standard AWS variables, profiles and instance roles).
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// S3 endpoint, in place of `AWS_ENDPOINT_URL_S3` and `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// S3 region, in place of `AWS_REGION`, `AWS_DEFAULT_REGION` and the profile's.
    pub region: Option<String>,
    /// Requests are not signed: for public buckets and for servers without authentication.
    pub anonymous: bool,
    pub checksum: UploadChecksum,
    pub connect_timeout: Duration,
    /// Bounds one attempt of one request, the transfer of its body included.
    pub request_timeout: Duration,
    /// How many times a request is tried again after the first attempt.
    pub retries: usize,
    /// No attempt begins later than this after the first.
    pub retry_time: Duration,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    pub idle_connections: usize,
    /// `file://` only: whether what is written is synced before it counts as written.
    pub sync_files: bool,
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            anonymous: false,
            checksum: UploadChecksum::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_mins(1),
            retries: 5,
            retry_time: Duration::from_mins(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(5),
            idle_connections: IDLE_CONNECTIONS,
            sync_files: true,
        }
    }
}
