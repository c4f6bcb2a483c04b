//! Topic configuration, in Kafka's names and units.
//!
//! A setting that this version does not act on is refused with a reason: nobody should believe that
//! old records are being deleted, or kept, when they are not.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{BATCH_BYTES_MAX, REPLICATION_FACTOR_MAX};

/// A codec that a record batch can carry, with its number in the batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|c| *c as u8 == code)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|c| c.name() == s)
            .ok_or_else(|| format!("{s:?} is not one of none, gzip, snappy, lz4, zstd"))
    }
}

/// `compression.type`: keep what the producer chose, or re-compress to one codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionType {
    #[default]
    Producer,
    #[serde(untagged)]
    Codec(Compression),
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TimestampType {
    /// The producer's timestamp is kept.
    #[default]
    CreateTime,
    /// The server's time of append replaces it.
    LogAppendTime,
}

/// `cleanup.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CleanupPolicy {
    #[default]
    Delete,
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("{key}: no such topic setting")]
    Unknown { key: String },
    #[error("{key}={value}: {reason}")]
    Invalid { key: String, value: String, reason: String },
    #[error("{key}={value}: this version does not act on it yet: {reason}")]
    NotYet { key: String, value: String, reason: &'static str },
}

/// A topic's configuration, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicConfig {
    /// How long records are kept, in milliseconds; -1 for ever.
    #[serde(rename = "retention.ms")]
    pub retention_ms: i64,
    /// How many bytes of a partition are kept; -1 without bound.
    #[serde(rename = "retention.bytes")]
    pub retention_bytes: i64,
    /// How long records that are in the bucket stay in the hot tier too; -1 as long as there is room.
    #[serde(rename = "local.retention.ms")]
    pub local_retention_ms: i64,
    /// How many bytes of a partition stay in the hot tier after they are in the bucket; -1 as many as there is room for.
    #[serde(rename = "local.retention.bytes")]
    pub local_retention_bytes: i64,
    /// A segment is cut for the bucket at this size.
    #[serde(rename = "segment.bytes")]
    pub segment_bytes: u64,
    /// Largest record batch accepted.
    #[serde(rename = "max.message.bytes")]
    pub max_message_bytes: usize,
    #[serde(rename = "cleanup.policy")]
    pub cleanup_policy: CleanupPolicy,
    #[serde(rename = "compression.type")]
    pub compression_type: CompressionType,
    /// How many replicas must hold a record before it is acknowledged; `None` leaves it to the replication
    /// factor ([`TopicConfig::isr_floor`]). A number that is set stays, whatever the default is.
    #[serde(rename = "min.insync.replicas")]
    pub min_insync_replicas: Option<u32>,
    #[serde(rename = "message.timestamp.type")]
    pub message_timestamp_type: TimestampType,
    /// How far behind the server's clock a record's timestamp may lie, in milliseconds.
    #[serde(rename = "message.timestamp.before.max.ms")]
    pub message_timestamp_before_max_ms: i64,
    /// How far ahead of the server's clock a record's timestamp may lie, in milliseconds.
    #[serde(rename = "message.timestamp.after.max.ms")]
    pub message_timestamp_after_max_ms: i64,
    /// How long a record may live in the hot tier alone, in milliseconds from its append.
    #[serde(rename = "tier.max.age.ms")]
    pub tier_max_age_ms: u64,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention_ms: -1,
            retention_bytes: -1,
            local_retention_ms: -1,
            local_retention_bytes: -1,
            segment_bytes: 256 * 1024 * 1024,
            max_message_bytes: 1024 * 1024 + 12,
            cleanup_policy: CleanupPolicy::Delete,
            compression_type: CompressionType::Producer,
            min_insync_replicas: None,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 60 * 60 * 1000,
            tier_max_age_ms: 10 * 60 * 1000,
        }
    }
}

/// The one setting whose default depends on another property of the topic.
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
const SEGMENT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
const MESSAGE_BYTES_MIN: usize = 1024;
const TIER_AGE_MS_MIN: u64 = 100;

impl TopicConfig {
    /// Every setting's name with the value that holds for a topic with so many replicas a partition, in
    /// the order of the documentation.
    pub fn entries(&self, replication_factor: u32) -> Vec<(&'static str, String)> {
        let floor = Some(self.isr_floor(replication_factor));
        let filled = Self { min_insync_replicas: floor, ..self.clone() };
        KEYS.iter().map(|key| (key.name, (key.get)(&filled))).collect()
    }

    /// How many replicas must hold a record before it is acknowledged, in a topic with so many replicas a
    /// partition: `min.insync.replicas` where it is set, else two of three or more, else one.
    pub fn isr_floor(&self, replication_factor: u32) -> u32 {
        let default = if replication_factor >= 3 { 2 } else { 1 };
        self.min_insync_replicas.unwrap_or(default)
    }

    /// Refuses settings that a topic with so many replicas a partition cannot live by.
    pub fn check_replicas(&self, replication_factor: u32) -> Result<(), ConfigError> {
        match self.min_insync_replicas {
            Some(floor) if floor > replication_factor => Err(ConfigError::Invalid {
                key: MIN_INSYNC_REPLICAS.to_owned(),
                value: floor.to_string(),
                reason: format!("no more than the replication factor, which is {replication_factor}"),
            }),
            _ => Ok(()),
        }
    }

    /// The settings that differ from the defaults; `min.insync.replicas` whenever it is set.
    pub fn overrides(&self) -> BTreeMap<&'static str, String> {
        let default = Self::default();
        KEYS.iter()
            .filter(|key| (key.get)(self) != (key.get)(&default))
            .map(|key| (key.name, (key.get)(self)))
            .collect()
    }

    /// This configuration with `changes` applied; every problem at once when there is one. An empty
    /// value means the default.
    pub fn with<K, V>(&self, changes: impl IntoIterator<Item = (K, V)>) -> Result<Self, Vec<ConfigError>>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut config = self.clone();
        let mut errors = Vec::new();
        for (name, value) in changes {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(key) = KEYS.iter().find(|key| key.name == name) else {
                errors.push(ConfigError::Unknown { key: name.to_owned() });
                continue;
            };
            let default = (key.get)(&Self::default());
            let value = if value.is_empty() { default.as_str() } else { value };
            if let Err(problem) = (key.set)(&mut config, value) {
                let (key, value) = (name.to_owned(), value.to_owned());
                errors.push(match problem {
                    Problem::Invalid(reason) => ConfigError::Invalid { key, value, reason },
                    Problem::NotYet(reason) => ConfigError::NotYet { key, value, reason },
                });
            }
        }
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }
}

enum Problem {
    Invalid(String),
    NotYet(&'static str),
}

type Setter = fn(&mut TopicConfig, &str) -> Result<(), Problem>;

struct Key {
    name: &'static str,
    get: fn(&TopicConfig) -> String,
    set: Setter,
}

const KEYS: &[Key] = &[
    Key {
        name: "retention.ms",
        get: |c| c.retention_ms.to_string(),
        set: |c, v| {
            c.retention_ms = unbounded_only(v, "records are kept for ever, deletion by age is not built")?;
            Ok(())
        },
    },
    Key {
        name: "retention.bytes",
        get: |c| c.retention_bytes.to_string(),
        set: |c, v| {
            c.retention_bytes =
                unbounded_only(v, "records are kept for ever, deletion by size is not built")?;
            Ok(())
        },
    },
    Key {
        name: "local.retention.ms",
        get: |c| c.local_retention_ms.to_string(),
        set: |c, v| {
            c.local_retention_ms = integer(v, -1, i64::MAX)?;
            Ok(())
        },
    },
    Key {
        name: "local.retention.bytes",
        get: |c| c.local_retention_bytes.to_string(),
        set: |c, v| {
            c.local_retention_bytes = integer(v, -1, i64::MAX)?;
            Ok(())
        },
    },
    Key {
        name: "segment.bytes",
        get: |c| c.segment_bytes.to_string(),
        set: |c, v| {
            c.segment_bytes = integer(v, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
            Ok(())
        },
    },
    Key {
        name: "max.message.bytes",
        get: |c| c.max_message_bytes.to_string(),
        set: |c, v| {
            c.max_message_bytes = integer(v, MESSAGE_BYTES_MIN, BATCH_BYTES_MAX)?;
            Ok(())
        },
    },
    Key {
        name: "cleanup.policy",
        get: |_| "delete".to_owned(),
        set: |c, v| match v {
            "delete" => {
                c.cleanup_policy = CleanupPolicy::Delete;
                Ok(())
            }
            "compact" | "compact,delete" | "delete,compact" => {
                Err(Problem::NotYet("compaction by key is not built"))
            }
            _ => Err(Problem::Invalid("not one of delete, compact, \"compact,delete\"".to_owned())),
        },
    },
    Key {
        name: "compression.type",
        get: |c| match c.compression_type {
            CompressionType::Producer => "producer".to_owned(),
            CompressionType::Codec(Compression::None) => "uncompressed".to_owned(),
            CompressionType::Codec(codec) => codec.name().to_owned(),
        },
        set: |c, v| {
            c.compression_type = match v {
                "producer" => CompressionType::Producer,
                "uncompressed" => CompressionType::Codec(Compression::None),
                "gzip" | "snappy" | "lz4" | "zstd" => {
                    CompressionType::Codec(v.parse().map_err(Problem::Invalid)?)
                }
                _ => {
                    let choices = "not one of producer, uncompressed, gzip, snappy, lz4, zstd";
                    return Err(Problem::Invalid(choices.to_owned()));
                }
            };
            Ok(())
        },
    },
    Key {
        name: MIN_INSYNC_REPLICAS,
        get: |c| c.min_insync_replicas.map_or_else(String::new, |floor| floor.to_string()),
        set: |c, v| {
            c.min_insync_replicas =
                if v.is_empty() { None } else { Some(integer(v, 1, REPLICATION_FACTOR_MAX)?) };
            Ok(())
        },
    },
    Key {
        name: "message.timestamp.type",
        get: |c| match c.message_timestamp_type {
            TimestampType::CreateTime => "CreateTime".to_owned(),
            TimestampType::LogAppendTime => "LogAppendTime".to_owned(),
        },
        set: |c, v| {
            c.message_timestamp_type = match v {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => return Err(Problem::Invalid("not one of CreateTime, LogAppendTime".to_owned())),
            };
            Ok(())
        },
    },
    Key {
        name: "message.timestamp.before.max.ms",
        get: |c| c.message_timestamp_before_max_ms.to_string(),
        set: |c, v| {
            c.message_timestamp_before_max_ms = integer(v, 0, i64::MAX)?;
            Ok(())
        },
    },
    Key {
        name: "message.timestamp.after.max.ms",
        get: |c| c.message_timestamp_after_max_ms.to_string(),
        set: |c, v| {
            c.message_timestamp_after_max_ms = integer(v, 0, i64::MAX)?;
            Ok(())
        },
    },
    Key {
        name: "tier.max.age.ms",
        get: |c| c.tier_max_age_ms.to_string(),
        set: |c, v| {
            c.tier_max_age_ms = integer(v, TIER_AGE_MS_MIN, i64::MAX as u64)?;
            Ok(())
        },
    },
];

fn integer<T>(value: &str, min: T, max: T) -> Result<T, Problem>
where
    T: FromStr + PartialOrd + fmt::Display + Copy,
{
    match value.parse::<T>() {
        Ok(parsed) if parsed >= min && parsed <= max => Ok(parsed),
        _ => Err(Problem::Invalid(format!("not a whole number from {min} to {max}"))),
    }
}

fn unbounded_only(value: &str, reason: &'static str) -> Result<i64, Problem> {
    match integer(value, -1, i64::MAX)? {
        -1 => Ok(-1),
        _ => Err(Problem::NotYet(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let errors = TopicConfig::default()
            .with([
                ("segment.bytes", "12"),
                ("retention.ms", "1000"),
                ("segmnt.bytes", "1048576"),
                ("cleanup.policy", "compact"),
            ])
            .unwrap_err();
        assert_eq!(errors.len(), 4);
        assert!(matches!(errors[1], ConfigError::NotYet { .. }));
        assert!(matches!(errors[2], ConfigError::Unknown { .. }));
    }

    #[test]
    fn every_setting_accepts_its_own_default_and_its_printed_value() {
        let config = TopicConfig::default().with(TopicConfig::default().overrides()).unwrap();
        assert_eq!(config, TopicConfig::default());
        for replication_factor in 1..=4 {
            let printed = TopicConfig::default().entries(replication_factor);
            let config = TopicConfig::default().with(printed.clone()).unwrap();
            assert_eq!(config.entries(replication_factor), printed);
        }
        let changed = config.with([("compression.type", "zstd"), ("tier.max.age.ms", "1000")]).unwrap();
        assert_eq!(TopicConfig::default().with(changed.overrides()).unwrap(), changed);
        assert_eq!(changed.with([("compression.type", ""), ("tier.max.age.ms", "")]).unwrap(), config);
    }

    #[test]
    fn a_floor_that_is_set_stays_and_one_that_is_not_follows_the_replicas() {
        let default = TopicConfig::default();
        assert_eq!([1, 2, 3, 4].map(|replicas| default.isr_floor(replicas)), [1, 1, 2, 2]);
        assert!(default.overrides().is_empty());
        let one = default.with([("min.insync.replicas", "1")]).unwrap();
        assert_eq!(one.overrides()["min.insync.replicas"], "1");
        assert_eq!((one.isr_floor(3), one.entries(3)), (1, one.entries(1)));
        assert_eq!(one.with([("min.insync.replicas", "")]).unwrap(), default);
        assert!(default.with([("min.insync.replicas", "0")]).is_err());
    }

    #[test]
    fn a_floor_above_the_replicas_is_refused() {
        let two = TopicConfig::default().with([("min.insync.replicas", "2")]).unwrap();
        assert_eq!(two.check_replicas(2), Ok(()));
        let refused = two.check_replicas(1).unwrap_err().to_string();
        assert_eq!(refused, "min.insync.replicas=2: no more than the replication factor, which is 1");
        assert!((1..4).all(|replicas| TopicConfig::default().check_replicas(replicas).is_ok()));
    }

    #[test]
    fn a_stored_configuration_comes_back() {
        let config = TopicConfig::default().with([("compression.type", "lz4")]).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TopicConfig>(&json).unwrap(), config);
    }
}
