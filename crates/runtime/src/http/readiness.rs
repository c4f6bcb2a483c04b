//! Whether the process can do its work, by part.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// What is not ready, and why. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Says that a part is not ready.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.0.lock().insert(part, reason.into());
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &'static str) {
        self.0.lock().remove(part);
    }

    /// The parts that are not ready, with their reasons.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        self.0.lock().iter().map(|(part, reason)| (*part, reason.clone())).collect()
    }
}
