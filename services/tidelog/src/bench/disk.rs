//! The disk alone: sequential writes, each followed by a sync, into a file whose blocks exist.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tidelog_journal::{Direct, bare};

/// Around the page cache or through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Direct,
    Buffered,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Buffered => "buffered",
        })
    }
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub megabytes_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The file is filled with zeros beforehand, which takes as long again: neither too long nor too short.
const WRITES_MAX: u64 = 20_000;
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Measures for about so many seconds, on a thread that may block.
pub async fn measure(directory: &Path, mode: Mode, write_bytes: usize, seconds: u64) -> anyhow::Result<Run> {
    let options = bare::Options {
        write_bytes,
        direct: match mode {
            Mode::Direct => Direct::Auto,
            Mode::Buffered => Direct::Off,
        },
        duration: Duration::from_secs(seconds),
        file_bytes: (write_bytes as u64 * WRITES_MAX).min(FILE_BYTES_MAX),
    };
    let directory = directory.to_owned();
    let outcome = tokio::task::spawn_blocking(move || bare::measure(&directory, &options))
        .await?
        .context("measuring the disk")?;
    Ok(Run {
        megabytes_per_second: outcome.megabytes_per_s,
        p50_ms: outcome.p50.as_secs_f64() * 1e3,
        p99_ms: outcome.p99.as_secs_f64() * 1e3,
    })
}
