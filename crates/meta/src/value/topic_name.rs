//! `topic-name/{name}`: what keeps names unique.

use serde::{Deserialize, Serialize};
use tidelog_model::TopicId;

use super::JsonValue;

/// The topic that has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicNameOwner {
    pub topic: TopicId,
}

impl JsonValue for TopicNameOwner {
    const NAME: &'static str = "topic name";
    const VERSION: u32 = 1;
}
