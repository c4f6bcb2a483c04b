//! `topic/{topic}`: a topic, under its permanent id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidelog_model::config::MIN_INSYNC_REPLICAS;
use tidelog_model::{TimestampMs, TopicConfig, TopicName};

use super::JsonValue;

/// A topic as it was created and altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub name: TopicName,
    pub partitions: u32,
    /// How many replicas each partition is meant to have.
    #[serde(default = "one")]
    pub replication_factor: u32,
    /// The settings that differ from the defaults, in Kafka's names.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    pub created: TimestampMs,
    /// When it was deleted: its name is free and its records are gone for clients, but its objects in
    /// the bucket have not been dealt with yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<TimestampMs>,
}

fn one() -> u32 {
    1
}

impl Topic {
    pub fn new(name: TopicName, partitions: u32, config: &TopicConfig, created: TimestampMs) -> Self {
        let mut topic =
            Self { name, partitions, replication_factor: 1, config: BTreeMap::new(), created, deleted: None };
        topic.set_config(config);
        topic
    }

    /// How many in-sync replicas an acknowledged record needs, and below which an ISR never shrinks:
    /// `min.insync.replicas` where it is set, else two when there are three replicas or more.
    pub fn isr_floor(&self) -> u32 {
        // Asked of every partition again and again: settings are read only where they matter.
        let is_set = self.config.contains_key(MIN_INSYNC_REPLICAS);
        let config = if is_set { self.config() } else { TopicConfig::default() };
        config.isr_floor(self.replication_factor)
    }

    /// The whole configuration.
    ///
    /// # Panics
    /// When a setting is not valid, which decoding has excluded.
    pub fn config(&self) -> TopicConfig {
        TopicConfig::default().with(&self.config).expect("settings are checked when the record is read")
    }

    pub fn set_config(&mut self, config: &TopicConfig) {
        let overrides = config.overrides().into_iter();
        self.config = overrides.map(|(key, value)| (key.to_owned(), value)).collect();
    }
}

impl JsonValue for Topic {
    const NAME: &'static str = "topic";
    /// Version 1 knew one replica only.
    const VERSION: u32 = 2;

    fn check(&self) -> Result<(), String> {
        if self.replication_factor == 0 {
            return Err("the replication factor is 0".to_owned());
        }
        let join = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        TopicConfig::default().with(&self.config).map(drop).map_err(join)
    }
}
