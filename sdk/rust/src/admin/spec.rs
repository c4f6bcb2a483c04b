//! A topic that is to be created.

use std::collections::BTreeMap;

/// A topic to create. What is not said is left to the server.
///
/// ```
/// let spec = tidelog::TopicSpec::new("greetings")
///     .partitions(4)
///     .replication_factor(3)
///     .config("compression.type", "zstd");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) replication_factor: u32,
    pub(super) config: BTreeMap<String, String>,
}

impl TopicSpec {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: 0, replication_factor: 0, config: BTreeMap::new() }
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many replicas each partition has. Left to the cluster: three, or as many as there are stores
    /// when there are fewer.
    #[must_use]
    pub fn replication_factor(mut self, replicas: u32) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// A setting in Kafka's names; an empty value means the default.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

impl From<&str> for TopicSpec {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
