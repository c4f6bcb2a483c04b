//! Whether the process can do its work, by part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// What is not ready, and why. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Parts>);

#[derive(Default)]
struct Parts {
    said: Mutex<BTreeMap<&'static str, String>>,
    asked: Mutex<BTreeMap<&'static str, Check>>,
}

/// Why a part is not ready, when it is not.
type Check = Arc<dyn Fn() -> Option<String> + Send + Sync>;

impl Readiness {
    /// Says that a part is not ready.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        self.0.said.lock().insert(part, reason.into());
    }

    /// Says that a part is ready.
    pub fn ready(&self, part: &'static str) {
        self.0.said.lock().remove(part);
    }

    /// Asks a part whenever somebody asks: it answers why it is not ready, at once. What was
    /// [said](Self::not_ready) of it goes before.
    pub fn require(&self, part: &'static str, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.0.asked.lock().insert(part, Arc::new(check));
    }

    /// The parts that are not ready, with their reasons.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let asked: Vec<_> =
            self.0.asked.lock().iter().map(|(part, check)| (*part, Arc::clone(check))).collect();
        let answers = asked.into_iter().filter_map(|(part, check)| Some((part, check()?)));
        let mut missing: BTreeMap<_, _> = answers.collect();
        missing.extend(self.0.said.lock().iter().map(|(part, reason)| (*part, reason.clone())));
        missing.into_iter().collect()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("said", &self.said).finish_non_exhaustive()
    }
}
