//! `producer-ids`: the source of producer ids, taken in blocks so that an id costs no transaction.

use serde::{Deserialize, Serialize};
use tidelog_model::ProducerId;

use super::JsonValue;

/// The first producer id that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIds {
    pub next: ProducerId,
}

impl ProducerIds {
    /// How many ids a store takes at a time; those it has not handed out are lost when it stops.
    pub const BLOCK: i64 = 1000;

    pub const FIRST: Self = Self { next: ProducerId(1) };

    /// What remains after a block was taken, or `None` when there are no ids left.
    #[must_use]
    pub fn after_block(self) -> Option<Self> {
        Some(Self { next: ProducerId(self.next.0.checked_add(Self::BLOCK)?) })
    }
}

impl JsonValue for ProducerIds {
    const NAME: &'static str = "producer ids";
    const VERSION: u32 = 1;

    fn check(&self) -> Result<(), String> {
        if self.next.is_some() { Ok(()) } else { Err(format!("the next id is {}", self.next)) }
    }
}
