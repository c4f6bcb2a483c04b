//! From a URL to an object store.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, HeaderValue, ObjectStore, RetryConfig};
use url::Url;

use super::credentials;
use super::error::{BucketError, Operation, Subject};
use super::options::{BucketOptions, UploadChecksum};

/// How long a connection may lie idle before it is closed. Below the 60 s after which common load
/// balancers drop theirs.
const IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(50);

/// How long a body may make no progress.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

const USER_AGENT: &str = concat!("tidelog/", env!("CARGO_PKG_VERSION"));

/// A store and the prefix below which everything lies.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    pub(super) ordered: bool,
}

/// Opens what `url` names. Nothing is sent yet.
pub(super) async fn open(url: &str, options: &BucketOptions) -> Result<Opened, BucketError> {
    let invalid = |detail: String| BucketError::invalid(url, detail);
    let parsed = Url::parse(url).map_err(|error| {
        invalid(format!("{error}; a bucket's URL looks like s3://bucket/prefix or file:///directory"))
    })?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid("a bucket's URL has neither a query nor a fragment".to_owned()));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(invalid("credentials do not belong into a bucket's URL".to_owned()));
    }
    let prefix = || Path::from_url_path(parsed.path()).map_err(|error| invalid(error.to_string()));
    let opened = |store: Arc<dyn ObjectStore>, prefix| Opened { store, prefix, ordered: true };
    match parsed.scheme() {
        "s3" | "s3a" => Ok(opened(s3(url, &parsed, options).await?, prefix()?)),
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(url);
            let builder = builder.with_client_options(client(options, false)).with_retry(retry(options));
            Ok(opened(built(url, builder.build())?, prefix()?))
        }
        "az" | "azure" | "abfs" | "abfss" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(url);
            let builder = builder.with_client_options(client(options, false)).with_retry(retry(options));
            Ok(opened(built(url, builder.build())?, prefix()?))
        }
        "memory" => Ok(opened(Arc::new(InMemory::new()), prefix()?)),
        "file" => {
            let directory = parsed.to_file_path().map_err(|()| {
                invalid("a file URL has three slashes and an absolute path: file:///directory".to_owned())
            })?;
            Ok(Opened {
                store: directory_store(url, directory, options)?,
                prefix: Path::default(),
                ordered: false,
            })
        }
        other => Err(invalid(format!("{other}:// is none of s3://, gs://, az://, file://, memory://"))),
    }
}

async fn s3(url: &str, parsed: &Url, options: &BucketOptions) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let bucket = parsed.host_str().unwrap_or_default();
    if bucket.is_empty() {
        return Err(BucketError::invalid(url, "the URL names no bucket"));
    }
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    let value = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
    let endpoint = value(&builder, AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| value(&builder, AmazonS3ConfigKey::Endpoint))
        .filter(|endpoint| !endpoint.is_empty());
    let region = match &options.region {
        Some(region) => region.clone(),
        None => credentials::region().await,
    };
    let plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    builder = builder
        .with_region(&region)
        .with_client_options(client(options, plain))
        .with_retry(retry(options))
        // Servers that only speak S3 often know nothing of deleting in bulk.
        .with_disable_bulk_delete(endpoint.is_some());
    if endpoint.is_none() && !bucket.contains('.') {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    builder = match options.checksum {
        // The checksum is in a header, which the signature covers: hashing the content for the signature
        // too would take both ends as long as everything else that they do with it.
        UploadChecksum::Crc64Nvme => {
            builder.with_checksum_algorithm(Checksum::CRC64NVME).with_unsigned_payload(true)
        }
        UploadChecksum::Sha256 => builder.with_checksum_algorithm(Checksum::SHA256),
        UploadChecksum::None => builder,
    };
    let anonymous = options.anonymous
        || value(&builder, AmazonS3ConfigKey::SkipSignature).is_some_and(|skip| skip == "true");
    builder = if anonymous {
        builder.with_skip_signature(true)
    } else {
        builder.with_credentials(Arc::new(credentials::default_chain(region).await))
    };
    built(url, builder.build())
}

fn built<S: ObjectStore>(
    url: &str,
    store: object_store::Result<S>,
) -> Result<Arc<dyn ObjectStore>, BucketError> {
    match store {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(BucketError::from_store(Operation::Open, url, &error)),
    }
}

fn directory_store(
    url: &str,
    directory: PathBuf,
    options: &BucketOptions,
) -> Result<Arc<dyn ObjectStore>, BucketError> {
    std::fs::create_dir_all(&directory).map_err(|error| {
        let about = Subject { operation: Operation::Open, key: url.to_owned(), detail: error.to_string() };
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => BucketError::Denied(about),
            std::io::ErrorKind::ReadOnlyFilesystem => BucketError::ReadOnly(about),
            std::io::ErrorKind::StorageFull => BucketError::Full(about),
            _ => BucketError::Invalid(about),
        }
    })?;
    let store = LocalFileSystem::new_with_prefix(directory).map(|store| store.with_fsync(options.sync_files));
    built(url, store)
}

fn client(options: &BucketOptions, plain: bool) -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(USER_AGENT))
        .with_allow_http(plain)
        .with_connect_timeout(options.connect_timeout)
        .with_timeout(options.request_timeout)
        .with_read_timeout(READ_TIMEOUT.min(options.request_timeout))
        .with_pool_idle_timeout(IDLE_TIMEOUT)
        .with_pool_max_idle_per_host(options.idle_connections)
        .with_http1_only()
}

fn retry(options: &BucketOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: options.retry_backoff,
            max_backoff: options.retry_backoff_max,
            base: 2.0,
        },
        max_retries: options.retries,
        retry_timeout: options.retry_time,
    }
}
