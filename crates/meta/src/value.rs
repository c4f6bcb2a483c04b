//! What the keys hold: one file per type.
//!
//! Values are JSON with a `version` field, so that an operator can read them with any tool; the cold
//! pointer alone is bytes, in the published format of the bucket. A version higher than the one known
//! here is refused, not guessed at.

mod cluster;
mod drain;
mod frontend;
mod live;
mod node;
mod partition;
mod pointer;
mod producer_ids;
mod topic;
mod topic_name;

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use cluster::Cluster;
pub use drain::Drain;
pub use frontend::Frontend;
pub use live::{Live, Role};
pub use node::Node;
pub use partition::{Leader, Partition, Replica};
pub use producer_ids::ProducerIds;
pub use topic::Topic;
pub use topic_name::TopicNameOwner;

/// Something that a key can hold.
pub trait Value: Sized + Send + Sync + 'static {
    /// What it is called in errors.
    const KIND: &'static str;

    fn encode(&self) -> Bytes;
    fn decode(bytes: &[u8]) -> Result<Self, ValueError>;
}

/// A value that cannot be read. Nothing may be concluded from it, least of all that it is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    #[error(
        "{key}: the {kind} record has version {found}, this program knows up to {known}; use a newer one"
    )]
    NewerVersion { key: String, kind: &'static str, found: u32, known: u32 },
    #[error("{key}: the {kind} record is damaged: {reason}")]
    Damaged { key: String, kind: &'static str, reason: String },
}

impl ValueError {
    fn damaged(kind: &'static str, reason: impl fmt::Display) -> Self {
        Self::Damaged { key: String::new(), kind, reason: reason.to_string() }
    }

    /// The same error, about this key.
    #[must_use]
    pub fn at(mut self, at: &str) -> Self {
        let (Self::NewerVersion { key, .. } | Self::Damaged { key, .. }) = &mut self;
        at.clone_into(key);
        self
    }
}

/// A value stored as JSON, and its current version.
trait JsonValue: Serialize + DeserializeOwned + Send + Sync + 'static {
    const NAME: &'static str;
    const VERSION: u32;

    /// What the types alone do not say.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Versioned<'a, V> {
    version: u32,
    #[serde(flatten)]
    value: &'a V,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl<V: JsonValue> Value for V {
    const KIND: &'static str = V::NAME;

    fn encode(&self) -> Bytes {
        let value = Versioned { version: V::VERSION, value: self };
        serde_json::to_vec(&value).expect("records are plain structs with string keys").into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        let damaged = |error: serde_json::Error| ValueError::damaged(V::NAME, error);
        let VersionOnly { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > V::VERSION {
            let (kind, known) = (V::NAME, V::VERSION);
            return Err(ValueError::NewerVersion { key: String::new(), kind, found: version, known });
        }
        let value: V = serde_json::from_slice(bytes).map_err(damaged)?;
        value.check().map_err(|reason| ValueError::damaged(V::NAME, reason))?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
