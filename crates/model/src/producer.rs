//! The identity that makes a producer's retries recognisable.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies one idempotent producer; handed out by the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// What a batch without idempotence carries.
    pub const NONE: Self = Self(-1);

    pub fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Fences older instances of one producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerEpoch(pub i16);

impl ProducerEpoch {
    pub const NONE: Self = Self(-1);
}

/// Numbers a producer's records within a partition: 0 to 2^31 - 1, then 0 again (as in Kafka).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub i32);

impl Sequence {
    pub const NONE: Self = Self(-1);

    /// The sequence `count` records later, wrapping past 2^31 - 1 to 0.
    #[must_use]
    pub fn advance(self, count: u32) -> Self {
        let modulus = 1_i64 << 31;
        let value = (i64::from(self.0) + i64::from(count)).rem_euclid(modulus);
        Self(i32::try_from(value).expect("reduced modulo 2^31"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero_after_the_largest() {
        assert_eq!(Sequence(i32::MAX).advance(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).advance(3), Sequence(1));
        assert_eq!(Sequence(5).advance(0), Sequence(5));
    }
}
