//! When all faults are healed, all goes on.

use tidelog_model::Offset;

use super::{Invariant, Ledger, Violation};
use crate::log::Batch;

impl Ledger {
    /// What is missing, long after the last fault.
    pub(crate) fn not_alive(missing: String) -> Result<(), Violation> {
        super::broken(Invariant::Liveness, || missing)
    }

    /// Up to where everyone must be able to read.
    pub(crate) fn acknowledged_end(&self, partition: usize) -> Offset {
        self.partitions[partition].acknowledged.values().last().map(Batch::next).unwrap_or_default()
    }
}
