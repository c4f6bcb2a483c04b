//! Messages to values and back. What does not decode is the peer's error, and says which part.

pub(crate) mod cluster;
pub(crate) mod control;
pub(crate) mod partition;
pub(crate) mod replication;
pub(crate) mod topics;

use bytes::Bytes;
use thiserror::Error;
use tidelog_model::{DirectoryId, ErrorCode, PartitionId, TopicId, TopicPartition};
use tidelog_peer::StoreError;
use tidelog_proto::v1;

/// A message that says something impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message's {0} is missing or not valid")]
pub struct BadMessage(pub &'static str);

impl From<BadMessage> for StoreError {
    fn from(bad: BadMessage) -> Self {
        Self::new(ErrorCode::InvalidRequest, bad.to_string())
    }
}

pub(crate) type Converted<T> = Result<T, BadMessage>;

/// A field that has to be there.
pub(crate) fn needed<T>(field: Option<T>, name: &'static str) -> Converted<T> {
    field.ok_or(BadMessage(name))
}

pub(crate) fn topic_id(bytes: &[u8]) -> Converted<TopicId> {
    bytes.try_into().map(TopicId::from_bytes).map_err(|_| BadMessage("topic id"))
}

pub(crate) fn topic_id_bytes(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn directory(bytes: &[u8]) -> Converted<DirectoryId> {
    bytes.try_into().map(DirectoryId::from_bytes).map_err(|_| BadMessage("directory id"))
}

pub(crate) fn directory_bytes(id: DirectoryId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

pub(crate) fn partition(message: Option<v1::PartitionId>) -> Converted<TopicPartition> {
    let message = needed(message, "partition")?;
    Ok(TopicPartition::new(topic_id(&message.topic_id)?, PartitionId(message.partition)))
}

pub(crate) fn partition_message(partition: TopicPartition) -> v1::PartitionId {
    v1::PartitionId { topic_id: topic_id_bytes(partition.topic), partition: partition.partition.0 }
}

pub(crate) fn error_message(error: StoreError) -> v1::Error {
    tidelog_wire::error_message(error.code, error.message)
}

/// A code that this version does not know becomes one that allows the same.
pub(crate) fn error(message: v1::Error) -> StoreError {
    let code = ErrorCode::from_code(message.code).unwrap_or({
        match (message.retryable, message.no_side_effects) {
            (true, true) => ErrorCode::ThrottlingQuotaExceeded,
            (true, false) => ErrorCode::RequestTimedOut,
            (false, true) => ErrorCode::InvalidRequest,
            (false, false) => ErrorCode::Internal,
        }
    });
    StoreError::new(code, message.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_what_they_allow() {
        for code in ErrorCode::ALL {
            let there = StoreError::new(*code, "why");
            assert_eq!(error(error_message(there.clone())), there);
            let newer = v1::Error { code: 60_000, ..error_message(there.clone()) };
            let back = error(newer);
            assert_eq!(back.is_retryable(), there.is_retryable());
            assert_eq!(back.has_no_side_effects(), there.has_no_side_effects());
        }
    }

    #[test]
    fn what_is_no_partition_is_named() {
        assert_eq!(partition(None), Err(BadMessage("partition")));
        let short = v1::PartitionId { topic_id: Bytes::from_static(b"short"), partition: 1 };
        assert_eq!(partition(Some(short)), Err(BadMessage("topic id")));
    }
}
