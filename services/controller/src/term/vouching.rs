//! Evidence that a leader is there, before replicas go that have what it should have.

use tidelog_meta::{Leader, Revision};

use super::Term;

/// A reassignment that was seen, and how often its leader had answered by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    revision: Revision,
    leader: Leader,
    answers: u64,
}

/// The first answer after a record was seen may be to a question from before; the next one is not, since a
/// store is asked one question at a time.
const ANSWERS: u64 = 2;

impl Term {
    /// Finds the reassignments whose leaders vouch for what they have.
    pub(super) fn vouch(&mut self) {
        let known = std::mem::take(&mut self.moving);
        self.view.vouched.clear();
        for (partition, held, _) in self.image.current().filter(|(_, held, _)| held.value.is_moving()) {
            let Some(leader) = held.value.leader else { continue };
            let Some(answers) = self.health.answers(leader.node, leader.boot) else { continue };
            let fresh = Seen { revision: held.revision, leader, answers };
            let same = |seen: &&Seen| (seen.revision, seen.leader) == (held.revision, leader);
            let seen = *known.get(&partition).filter(same).unwrap_or(&fresh);
            if answers >= seen.answers + ANSWERS {
                self.view.vouched.insert(partition);
            }
            self.moving.insert(partition, seen);
        }
    }
}
