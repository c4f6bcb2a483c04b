//! What can be wrong with a record batch.

use thiserror::Error;
use tidelog_model::{Compression, ErrorCode, limits};

/// Why bytes are no usable record batch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    #[error("the batch is cut short: {needed} bytes are needed, {present} are there")]
    Truncated { needed: usize, present: usize },
    #[error("{extra} bytes follow the end of the batch")]
    TrailingBytes { extra: usize },
    #[error("the batch is {bytes} bytes large, {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("the batch has format version {0}, only version 2 is supported")]
    UnsupportedMagic(i8),
    #[error("the batch names codec {0}, which does not exist")]
    UnknownCodec(u8),
    #[error("the batch header is not valid: {0}")]
    Header(&'static str),
    #[error("the batch's checksum is wrong: stored {stored:08x}, computed {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("record {index} of the batch is not valid: {reason}")]
    Record { index: u32, reason: &'static str },
    #[error("the batch's {codec} data is damaged: {reason}")]
    Codec { codec: Compression, reason: String },
    #[error("the batch's {codec} data expands past {max} bytes")]
    Expands { codec: Compression, max: usize },
    #[error("a batch holds at most {} records", limits::RECORDS_PER_BATCH_MAX)]
    TooManyRecords,
}

impl BatchError {
    /// The code that carries this error over a protocol.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::Header(_)
            | Self::Checksum { .. }
            | Self::Record { .. }
            | Self::Codec { .. } => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } | Self::Expands { .. } | Self::TooManyRecords => ErrorCode::MessageTooLarge,
            Self::UnsupportedMagic(_) => ErrorCode::UnsupportedVersion,
            Self::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
        }
    }

    /// The same bytes fail for ever; a fresh copy of them may not.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// Nothing was stored.
    pub fn has_no_side_effects(&self) -> bool {
        true
    }
}
