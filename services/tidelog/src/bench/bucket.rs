//! The bucket alone: ranged GETs and multipart PUTs with the product's sizes and concurrency.

use anyhow::Context as _;
use bytes::Bytes;
use tidelog_cold::bare::{multipart_put, ranged_gets};
use tidelog_cold::bucket::{Bucket, BucketOptions};
use tidelog_cold::{PART_BYTES, PARTS_PER_SEGMENT, STREAM_REQUESTS};

use super::load::incompressible;
use super::report::median;
use super::target::Scratch;

/// Which bucket, and how many requests at a time.
#[derive(Clone, Debug, clap::Args)]
pub struct BucketOption {
    /// The bucket; the environment holds the credentials. Default: a directory below the scratch directory.
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    /// Bare GETs at a time.
    #[arg(long, default_value_t = STREAM_REQUESTS)]
    gets: usize,
    /// Bare PUTs of parts at a time.
    #[arg(long, default_value_t = PARTS_PER_SEGMENT)]
    puts: usize,
}

/// Megabytes per second, each the median of its rounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub get: f64,
    pub put: f64,
}

const RANGE_BYTES: u64 = 4 * 1024 * 1024;
const PARTS: usize = 32;
const KEY: &str = "bare-object";

impl BucketOption {
    pub fn url(&self, scratch: &Scratch) -> String {
        let default = || format!("file://{}", scratch.path().join("bucket").display());
        self.bucket.clone().unwrap_or_else(default)
    }
}

/// Writes and reads an object of a quarter of a gigabyte beside the product's prefix.
pub async fn measure(option: &BucketOption, scratch: &Scratch, rounds: u32) -> anyhow::Result<Limits> {
    let url = option.url(scratch) + "-bare";
    if let Some(directory) = url.strip_prefix("file://") {
        std::fs::create_dir_all(directory).with_context(|| directory.to_owned())?;
    }
    let bucket = Bucket::open(&url, &BucketOptions::default()).await.with_context(|| url.clone())?;
    let part = Bytes::from(incompressible(PART_BYTES));
    let bytes = (PART_BYTES * PARTS) as u64;
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        puts.push(multipart_put(&bucket, KEY, &part, PARTS, option.puts).await?.megabytes_per_second());
        gets.push(ranged_gets(&bucket, KEY, bytes, RANGE_BYTES, option.gets).await?.megabytes_per_second());
    }
    bucket.delete(KEY).await.context("removing the object of the measurement")?;
    Ok(Limits { get: median(gets), put: median(puts) })
}
