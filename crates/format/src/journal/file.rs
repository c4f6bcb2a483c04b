//! The first block of a file: which file it is and the salt of its checksums.
//!
//! ```text
//!   0 magic      8   "TIDEJRNL"
//!   8 version    u16
//!  10 flags      u16 0
//!  12 checksum   u32 of the 64 bytes without this field
//!  16 salt       16
//!  32 sequence   u64
//!  40 file_bytes u64 the size it was made with
//!  48 reserved   16  0
//!  64 zeros up to 4096
//! ```

use super::{BLOCK_BYTES, FormatError, Salt, VERSION, first, put, u16_at, u32_at, u64_at};
use crate::checksum::crc32c;

/// Bytes of the header that mean something.
pub const FILE_HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"TIDEJRNL";
const WHAT: &str = "journal file header";

/// The header of one journal file. Synced before the first group is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    pub sequence: u64,
    pub salt: Salt,
    pub file_bytes: u64,
}

impl FileHeader {
    /// Writes the header over the first block of a file.
    pub fn encode(&self, block: &mut [u8; BLOCK_BYTES]) {
        block.fill(0);
        put(block, 0, &MAGIC);
        put(block, 8, &VERSION.to_be_bytes());
        put(block, 16, &self.salt.0);
        put(block, 32, &self.sequence.to_be_bytes());
        put(block, 40, &self.file_bytes.to_be_bytes());
        let checksum = checksum(&block[..FILE_HEADER_BYTES]);
        put(block, 12, &checksum.to_be_bytes());
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = first::<FILE_HEADER_BYTES>(WHAT, bytes)?;
        if head[..8] != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        let version = u16_at(head, 8);
        if version > VERSION || version == 0 {
            return Err(FormatError::Version { found: version, supported: VERSION });
        }
        if u32_at(head, 12) != checksum(head) {
            return Err(FormatError::Checksum(WHAT));
        }
        if u16_at(head, 10) != 0 {
            return Err(FormatError::Invalid { what: WHAT, reason: "its flags are not known" });
        }
        Ok(Self {
            sequence: u64_at(head, 32),
            salt: Salt(head[16..32].try_into().expect("sixteen bytes")),
            file_bytes: u64_at(head, 40),
        })
    }
}

fn checksum(head: &[u8]) -> u32 {
    crate::checksum::Crc32c::resume(crc32c(&head[..12])).with(&head[16..FILE_HEADER_BYTES]).finish()
}
