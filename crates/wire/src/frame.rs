//! A frame: what every stream carries.
//!
//! ```text
//!  0        1                 4                          8
//! +--------+-----------------+--------------------------+----------------+---------------+
//! | kind   | header bytes    | payload bytes            | header …       | payload …     |
//! | u8     | u24 big-endian  | u32 big-endian           | protobuf       | record batches|
//! +--------+-----------------+--------------------------+----------------+---------------+
//! ```

use bytes::{Bytes, BytesMut};
use prost::Message;
use tidelog_proto::v1;

use crate::limits::{FRAME_HEAD_BYTES, FrameLimits};
use crate::{BytePermit, WireError};

pub use tidelog_proto::v1::FrameKind;

/// Kinds from here on may be skipped by a receiver that does not know them.
const OPTIONAL_KINDS: u8 = 0x80;

/// The largest header that the head can state.
pub(crate) const HEADER_BYTES_STATED_MAX: usize = (1 << 24) - 1;

/// The eight bytes that begin a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// As it came: it may be a kind that this version does not know.
    pub kind: u8,
    /// Less than 2^24.
    pub header_bytes: u32,
    pub payload_bytes: u32,
}

impl FrameHead {
    pub fn encode(self) -> [u8; FRAME_HEAD_BYTES] {
        assert!(self.header_bytes as usize <= HEADER_BYTES_STATED_MAX, "a header's length has three bytes");
        let [_, h1, h2, h3] = self.header_bytes.to_be_bytes();
        let [p0, p1, p2, p3] = self.payload_bytes.to_be_bytes();
        [self.kind, h1, h2, h3, p0, p1, p2, p3]
    }

    pub fn decode(bytes: [u8; FRAME_HEAD_BYTES]) -> Self {
        let [kind, h1, h2, h3, p0, p1, p2, p3] = bytes;
        Self {
            kind,
            header_bytes: u32::from_be_bytes([0, h1, h2, h3]),
            payload_bytes: u32::from_be_bytes([p0, p1, p2, p3]),
        }
    }

    /// Header and payload together.
    pub fn body_bytes(self) -> usize {
        self.header_bytes as usize + self.payload_bytes as usize
    }

    /// Holds the lengths against the limits, before anything is allocated for them.
    pub fn check(self, limits: &FrameLimits) -> Result<(), WireError> {
        let claims = [
            ("header", self.header_bytes as usize, limits.header_bytes),
            ("payload", self.payload_bytes as usize, limits.payload_bytes),
        ];
        for (part, claimed, limit) in claims {
            if claimed > limit {
                return Err(WireError::FrameTooLarge { part, claimed, limit });
            }
        }
        Ok(())
    }

    /// The kind; `None` when it is unknown and the frame is to be skipped.
    pub(crate) fn known_kind(self) -> Result<Option<FrameKind>, WireError> {
        match FrameKind::try_from(i32::from(self.kind)) {
            Ok(FrameKind::Unspecified) => Err(WireError::Unexpected { found: 0 }),
            Ok(kind) => Ok(Some(kind)),
            Err(_) if self.kind >= OPTIONAL_KINDS => Ok(None),
            Err(_) => Err(WireError::Unexpected { found: self.kind }),
        }
    }
}

/// A frame as it was received. Its bytes count against the receiver's budget until it is dropped.
#[derive(Debug)]
pub struct Frame {
    pub kind: FrameKind,
    pub header: Bytes,
    pub payload: BytesMut,
    pub permit: BytePermit,
}

impl Frame {
    /// The header, when the frame is of this kind. An error frame becomes [`WireError::Remote`].
    pub fn decode<M: Message + Default>(&self, kind: FrameKind) -> Result<M, WireError> {
        if self.kind == kind {
            return self.header_as();
        }
        if self.kind == FrameKind::Error {
            return Err(self.header_as::<v1::Error>()?.into());
        }
        Err(WireError::unexpected(self.kind))
    }

    fn header_as<M: Message + Default>(&self) -> Result<M, WireError> {
        M::decode(self.header.clone()).map_err(|error| WireError::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_is_laid_out_as_documented() {
        let head = FrameHead { kind: 0x22, header_bytes: 0x01_02_03, payload_bytes: 0x04_05_06_07 };
        assert_eq!(head.encode(), [0x22, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn unknown_optional_kinds_are_skipped_and_others_refused() {
        let head = |kind| FrameHead { kind, header_bytes: 0, payload_bytes: 0 };
        assert_eq!(head(0x22).known_kind().unwrap(), Some(FrameKind::Produce));
        assert_eq!(head(0x80).known_kind().unwrap(), None);
        assert!(matches!(head(0x7f).known_kind(), Err(WireError::Unexpected { found: 0x7f })));
        assert!(matches!(head(0).known_kind(), Err(WireError::Unexpected { found: 0 })));
    }

    #[test]
    fn a_claim_of_two_gigabytes_is_refused_by_its_head() {
        let head = FrameHead { kind: 0x22, header_bytes: 20, payload_bytes: 2 << 30 };
        let error = head.check(&FrameLimits::REQUESTS).unwrap_err();
        assert!(matches!(error, WireError::FrameTooLarge { part: "payload", claimed: 2_147_483_648, .. }));
    }

    proptest! {
        #[test]
        fn heads_come_back(kind: u8, header_bytes in 0_u32..1 << 24, payload_bytes: u32) {
            let head = FrameHead { kind, header_bytes, payload_bytes };
            prop_assert_eq!(FrameHead::decode(head.encode()), head);
        }

        #[test]
        fn any_eight_bytes_are_a_head(bytes: [u8; FRAME_HEAD_BYTES]) {
            prop_assert_eq!(FrameHead::decode(bytes).encode(), bytes);
        }
    }
}
