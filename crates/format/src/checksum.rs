//! CRC-32C (Castagnoli), the checksum of every format here. The one place that names the crate behind it.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC-32C over pieces. Feeding it the pieces gives what [`crc32c`] gives for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32c {
    /// The register before its final inversion.
    state: u32,
}

impl Crc32c {
    pub fn new() -> Self {
        Self { state: u32::MAX }
    }

    /// Goes on where a finished checksum stopped: `resume(crc32c(a))` updated with `b` is the
    /// checksum of `a` followed by `b`. A salted checksum resumes from the checksum of its salt.
    pub fn resume(crc: u32) -> Self {
        Self { state: !crc }
    }

    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(self.state));
        digest.update(bytes);
        self.state = digest.get_state() as u32;
    }

    /// The same, for chaining.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        self.update(bytes);
        self
    }

    pub fn finish(self) -> u32 {
        !self.state
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of RFC 3720, appendix B.4.
    #[test]
    fn agrees_with_the_published_vectors() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn pieces_give_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = crc32c(&bytes);
        for cut in [0, 1, 16, 255, 256, 257, 4999, 5000] {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(Crc32c::new().with(a).with(b).finish(), whole);
            assert_eq!(Crc32c::resume(crc32c(a)).with(b).finish(), whole);
        }
    }
}
