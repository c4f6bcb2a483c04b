//! `topic/{topic}`: a topic, under its permanent id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidelog_model::{TimestampMs, TopicConfig, TopicName};

use super::JsonValue;

/// A topic as it was created and altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub name: TopicName,
    pub partitions: u32,
    /// The settings that differ from the defaults, in Kafka's names.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    pub created: TimestampMs,
    /// When it was deleted: its name is free and its records are gone for clients, but its objects in
    /// the bucket have not been dealt with yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<TimestampMs>,
}

impl Topic {
    pub fn new(name: TopicName, partitions: u32, config: &TopicConfig, created: TimestampMs) -> Self {
        let mut topic = Self { name, partitions, config: BTreeMap::new(), created, deleted: None };
        topic.set_config(config);
        topic
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
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        let join = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        TopicConfig::default().with(&self.config).map(drop).map_err(join)
    }
}
