//! Error codes: one table that every protocol maps from.

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $name:ident = $code:literal, retriable: $retriable:literal, no_side_effects: $clean:literal, $text:literal; )+) => {
        /// What went wrong, as it travels. Codes below 1000 are Kafka's; ours start there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum ErrorCode {
            $( $(#[$doc])* #[error($text)] $name = $code, )+
        }

        impl ErrorCode {
            /// Every code, in numeric order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            pub fn from_code(code: u32) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$name), )+
                    _ => None,
                }
            }

            /// The stable name, as used in metrics, logs and `-o json`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// The same request may succeed later without anyone changing it.
            pub fn is_retryable(self) -> bool {
                match self { $( Self::$name => $retriable, )+ }
            }

            /// The request certainly changed nothing. When false the outcome is unknown, and only an
            /// idempotent request may be repeated.
            pub fn has_no_side_effects(self) -> bool {
                match self { $( Self::$name => $clean, )+ }
            }
        }
    };
}

error_codes! {
    OffsetOutOfRange = 1, retriable: false, no_side_effects: true,
        "the offset is below the log start or above the log end";
    CorruptMessage = 2, retriable: true, no_side_effects: true,
        "the batch is damaged: its checksum or its structure is wrong";
    UnknownTopicOrPartition = 3, retriable: false, no_side_effects: true,
        "no such topic or partition";
    LeaderNotAvailable = 5, retriable: true, no_side_effects: true,
        "the partition has no leader at the moment";
    NotLeaderOrFollower = 6, retriable: true, no_side_effects: true,
        "this node does not lead the partition";
    RequestTimedOut = 7, retriable: true, no_side_effects: false,
        "the request timed out and its outcome is unknown";
    BrokerNotAvailable = 8, retriable: true, no_side_effects: true,
        "the node that serves this cannot be reached";
    MessageTooLarge = 10, retriable: false, no_side_effects: true,
        "the batch is larger than the topic's max.message.bytes";
    InvalidTopic = 17, retriable: false, no_side_effects: true,
        "the topic name is not valid";
    NotEnoughReplicas = 19, retriable: true, no_side_effects: true,
        "fewer replicas are in sync than min.insync.replicas asks for";
    NotEnoughReplicasAfterAppend = 20, retriable: true, no_side_effects: false,
        "replicas were lost while the batch was being replicated, and its outcome is unknown";
    UnsupportedVersion = 35, retriable: false, no_side_effects: true,
        "the protocol version is not supported";
    TopicAlreadyExists = 36, retriable: false, no_side_effects: true,
        "the topic already exists";
    InvalidPartitions = 37, retriable: false, no_side_effects: true,
        "the number of partitions is not valid";
    InvalidReplicationFactor = 38, retriable: false, no_side_effects: true,
        "the replication factor is not valid";
    InvalidReplicaAssignment = 39, retriable: false, no_side_effects: true,
        "the assignment of replicas is not valid";
    InvalidConfig = 40, retriable: false, no_side_effects: true,
        "the configuration is not valid";
    NotController = 41, retriable: true, no_side_effects: true,
        "this node is not the cluster's controller";
    InvalidRequest = 42, retriable: false, no_side_effects: true,
        "the request is malformed";
    InvalidTimestamp = 32, retriable: false, no_side_effects: true,
        "a record's timestamp is outside the topic's bounds";
    OutOfOrderSequence = 45, retriable: false, no_side_effects: true,
        "the producer's sequence has a gap";
    DuplicateSequence = 46, retriable: false, no_side_effects: false,
        "the batch is a duplicate that is too old to be matched with its offset";
    InvalidProducerEpoch = 47, retriable: false, no_side_effects: true,
        "the producer id is used by a newer instance";
    StorageError = 56, retriable: true, no_side_effects: false,
        "the disk failed and the outcome is unknown";
    UnknownProducerId = 59, retriable: false, no_side_effects: true,
        "the producer id is not known";
    UnsupportedCompressionType = 76, retriable: false, no_side_effects: true,
        "the compression codec is not supported";
    InvalidRecord = 87, retriable: false, no_side_effects: true,
        "a record failed validation";
    ThrottlingQuotaExceeded = 89, retriable: true, no_side_effects: true,
        "the server has too much work in hand; try again later";
    AuthenticationFailed = 58, retriable: false, no_side_effects: true,
        "the credentials were refused";
    /// The disk cannot take more; reads go on, writes may be tried again.
    StorageFull = 1000, retriable: true, no_side_effects: true,
        "the disk is full";
    /// The hot tier holds as much untiered data as it may, because the bucket does not take it.
    BacklogFull = 1001, retriable: true, no_side_effects: true,
        "the local budget is full of records that are not in the bucket yet";
    BucketUnavailable = 1002, retriable: true, no_side_effects: true,
        "the bucket cannot be reached or refused the request";
    BucketCorrupt = 1003, retriable: false, no_side_effects: true,
        "an object in the bucket is damaged";
    JournalCorrupt = 1004, retriable: false, no_side_effects: true,
        "the local journal is damaged";
    ShuttingDown = 1005, retriable: true, no_side_effects: true,
        "the server is shutting down";
    FrameTooLarge = 1006, retriable: false, no_side_effects: true,
        "the frame is larger than the protocol allows";
    Internal = 1007, retriable: false, no_side_effects: false,
        "an internal error; the outcome is unknown";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_come_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(*code as u32), Some(*code));
            assert!(!code.to_string().is_empty());
        }
        assert_eq!(ErrorCode::from_code(0), None);
    }
}
