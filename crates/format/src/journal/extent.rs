//! The extent: which files of a journal must be there.
//!
//! It is kept beside the journal's directory, in a file of two blocks. Each block is a slot of the
//! same form; the sound one with the higher generation counts, and the other one is written next. So
//! a change is one block and one sync, a torn one leaves what was before it, and a full disk is no
//! obstacle.
//!
//! ```text
//!   0 magic      8   "TIDEEXTN"
//!   8 version    u16
//!  10 flags      u16 0
//!  12 checksum   u32 of the 64 bytes without this field
//!  16 generation u64 one more with every change
//!  24 first      u64 sequence of the oldest file
//!  32 last       u64 sequence of the newest file; first - 1 if there is none
//!  40 reserved   24  0
//!  64 zeros up to 4096
//! ```

use super::{BLOCK_BYTES, FormatError, VERSION, first, put, u16_at, u32_at, u64_at};
use crate::checksum::{Crc32c, crc32c};

/// Bytes of a slot that mean something.
pub const EXTENT_SLOT_BYTES: usize = 64;

/// The file: two slots.
pub const EXTENT_FILE_BYTES: usize = 2 * BLOCK_BYTES;

const MAGIC: [u8; 8] = *b"TIDEEXTN";
const WHAT: &str = "journal extent";

/// Which files must be there: those with sequences from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub first: u64,
    pub last: u64,
}

impl Extent {
    /// No file yet; the next one has this sequence.
    pub fn empty_at(next: u64) -> Self {
        Self { first: next, last: next.saturating_sub(1) }
    }

    pub fn is_empty(&self) -> bool {
        self.last < self.first
    }
}

/// One slot of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentSlot {
    pub generation: u64,
    pub extent: Extent,
}

impl ExtentSlot {
    /// Writes the slot over a block.
    pub fn encode(&self, block: &mut [u8; BLOCK_BYTES]) {
        block.fill(0);
        put(block, 0, &MAGIC);
        put(block, 8, &VERSION.to_be_bytes());
        put(block, 16, &self.generation.to_be_bytes());
        put(block, 24, &self.extent.first.to_be_bytes());
        put(block, 32, &self.extent.last.to_be_bytes());
        let checksum = checksum(&block[..EXTENT_SLOT_BYTES]);
        put(block, 12, &checksum.to_be_bytes());
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let slot = first::<EXTENT_SLOT_BYTES>(WHAT, bytes)?;
        if slot[..8] != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        let version = u16_at(slot, 8);
        if version > VERSION {
            return Err(FormatError::Version { found: version, supported: VERSION });
        }
        // There is no version 0: the slot is torn.
        if version == 0 || u32_at(slot, 12) != checksum(slot) {
            return Err(FormatError::Checksum(WHAT));
        }
        let extent = Extent { first: u64_at(slot, 24), last: u64_at(slot, 32) };
        if u16_at(slot, 10) != 0 {
            return Err(FormatError::Invalid { what: WHAT, reason: "its flags are not known" });
        }
        if extent.first == 0 || extent.last < extent.first - 1 || extent.last == u64::MAX {
            return Err(FormatError::Invalid { what: WHAT, reason: "it ends before it begins" });
        }
        Ok(Self { generation: u64_at(slot, 16), extent })
    }
}

fn checksum(slot: &[u8]) -> u32 {
    Crc32c::resume(crc32c(&slot[..12])).with(&slot[16..EXTENT_SLOT_BYTES]).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(slot: ExtentSlot) -> [u8; BLOCK_BYTES] {
        let mut block = [0xff; BLOCK_BYTES];
        slot.encode(&mut block);
        block
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_noticed() {
        let slot = ExtentSlot { generation: 9, extent: Extent { first: 3, last: 17 } };
        let block = encoded(slot);
        assert_eq!(ExtentSlot::decode(&block), Ok(slot));
        for bit in 0..EXTENT_SLOT_BYTES * 8 {
            let mut block = block;
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(ExtentSlot::decode(&block).is_err(), "bit {bit}");
        }
        for length in 0..EXTENT_SLOT_BYTES {
            assert!(ExtentSlot::decode(&block[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn an_extent_without_files_says_which_comes_next() {
        let extent = Extent::empty_at(8);
        assert!(extent.is_empty());
        let slot = ExtentSlot { generation: 1, extent };
        assert_eq!(ExtentSlot::decode(&encoded(slot)), Ok(slot));
        let impossible = ExtentSlot { generation: 1, extent: Extent { first: 8, last: 6 } };
        assert!(matches!(ExtentSlot::decode(&encoded(impossible)), Err(FormatError::Invalid { .. })));
    }
}
