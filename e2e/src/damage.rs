//! Damage to files: what a bad disk, a torn write or a bug elsewhere would do.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Every file below `directory`, sorted by path.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Flips one bit of the byte at `position`.
pub fn flip_bit(path: &Path, position: u64) {
    let file = open(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a byte to flip");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, position).expect("the flipped byte");
}

/// Writes zeros over `[from, to)`.
pub fn zero(path: &Path, from: u64, to: u64) {
    let length = usize::try_from(to - from).expect("a range that fits in memory");
    open(path).write_all_at(&vec![0; length], from).expect("zeros");
}

/// Where `needle` begins in the file, if it is there.
pub fn find(path: &Path, needle: &[u8]) -> Option<u64> {
    let bytes = fs::read(path).expect("a file to search");
    bytes.windows(needle.len()).position(|window| window == needle).map(|at| at as u64)
}

/// The position after the last byte that is not zero.
pub fn used_bytes(path: &Path) -> u64 {
    let bytes = fs::read(path).expect("a file to measure");
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
