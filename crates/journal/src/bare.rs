//! What the disk under a directory can do: bare writes with a sync after each, as a yardstick.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::aligned::AlignedBuf;
use crate::config::Direct;
use crate::disk::{self, Disk};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of each write.
    pub write_bytes: usize,
    pub direct: Direct,
    /// Stops after this long ...
    pub duration: Duration,
    /// ... or this many bytes; the file that is written has this size.
    pub file_bytes: u64,
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub write_bytes: usize,
    /// Whether the writes went around the page cache.
    pub direct: bool,
    pub writes: usize,
    /// Of 10^6 bytes.
    pub megabytes_per_s: f64,
    /// Of one write and its sync.
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// Zeros are written in parts of this size.
const FILL_BYTES: usize = 4 * 1024 * 1024;

/// Writes sequentially into a zero-filled file in `dir`, syncing after every write. Blocks; the file
/// is removed.
pub fn measure(dir: &Path, options: &Options) -> io::Result<Outcome> {
    let path = dir.join(format!("bare-{}.tmp", std::process::id()));
    let outcome = Disk::create(&path, options.direct).and_then(|file| measure_in(&file, options));
    disk::remove(&path)?;
    outcome
}

fn measure_in(file: &Disk, options: &Options) -> io::Result<Outcome> {
    let mut buffer = AlignedBuf::new(options.write_bytes);
    let write_bytes = buffer.len();
    let writes_max = (options.file_bytes / write_bytes as u64).max(1) as usize;
    file.fill(&AlignedBuf::new(FILL_BYTES), 0, writes_max as u64 * write_bytes as u64)?;
    file.sync()?;
    for (number, byte) in buffer.iter_mut().enumerate() {
        *byte = (number.wrapping_mul(0x9e37_79b9) >> 13) as u8;
    }
    let mut times = Vec::with_capacity(writes_max);
    let begin = Instant::now();
    while times.len() < writes_max && (times.is_empty() || begin.elapsed() < options.duration) {
        let write = Instant::now();
        file.write(&buffer, (times.len() * write_bytes) as u64)?;
        file.sync()?;
        times.push(write.elapsed());
    }
    let seconds = begin.elapsed().as_secs_f64().max(f64::EPSILON);
    let writes = times.len();
    times.sort_unstable();
    Ok(Outcome {
        write_bytes,
        direct: file.is_direct(),
        writes,
        megabytes_per_s: (writes * write_bytes) as f64 / 1e6 / seconds,
        p50: times[(writes - 1) / 2],
        p99: times[(writes - 1) * 99 / 100],
        max: times[writes - 1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        for direct in [Direct::Auto, Direct::Off] {
            let options = Options {
                write_bytes: 4096,
                direct,
                duration: Duration::from_secs(5),
                file_bytes: 64 * 1024,
            };
            let outcome = measure(dir.path(), &options).unwrap();
            assert_eq!(outcome.writes, 16);
            assert!(outcome.p50 <= outcome.p99 && outcome.p99 <= outcome.max);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
