//! Positions in a partition and the epochs that fence them.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A record's position in its partition, counted from 0.
///
/// Kafka carries offsets as a signed 64-bit number; ours never exceed [`Offset::MAX`], so the
/// conversion to that form always succeeds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Self = Self(0);
    /// The largest offset that Kafka's signed field can carry.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The offset in Kafka's signed form.
    pub fn to_wire(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// An offset from Kafka's signed form; `None` when it is negative (a sentinel there).
    pub fn from_wire(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }

    /// The offset `count` records later, or `None` past [`Offset::MAX`].
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self).filter(|o| *o <= Self::MAX)
    }

    /// How many offsets lie from `earlier` to here; 0 when `earlier` is the later one.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Offset {
    type Output = Self;
    fn add(self, count: u64) -> Self {
        Self(self.0 + count)
    }
}

impl AddAssign<u64> for Offset {
    fn add_assign(&mut self, count: u64) {
        self.0 += count;
    }
}

impl Sub<u64> for Offset {
    type Output = Self;
    fn sub(self, count: u64) -> Self {
        Self(self.0 - count)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

/// Counts the leaderships of one partition. Raised in the metadata store before a leader appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaderEpoch(pub u32);

impl LeaderEpoch {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the lives of a cluster in its bucket: recovery from the bucket raises it. Epochs compare
/// as (incarnation, epoch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u32);

impl Incarnation {
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
