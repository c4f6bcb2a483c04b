//! What waits to be sent to one follower: one entry for each partition, whatever comes meanwhile.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry as Slot, HashMap};

use tidelog_model::{Offset, TopicPartition};
use tidelog_replica::{Attempt, Lead, Pushed};

/// A push, as far as it is still to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) attempt: Attempt,
    pub(super) from: Offset,
    pub(super) up_to: Offset,
}

/// One partition's turn: what is sent now, in the order of the fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) partition: TopicPartition,
    pub(super) lead: Option<Lead>,
    pub(super) beat: Option<Pushed>,
    /// To be read; the partition has no other turn before [`Outgoing::done`].
    pub(super) push: Option<Range>,
}

/// The partitions that have something to send, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// A partition is here while it is in `ready` or between its turn and [`Self::done`].
    entries: HashMap<TopicPartition, Entry>,
    /// Each at most once.
    ready: VecDeque<TopicPartition>,
}

#[derive(Debug, Default)]
struct Entry {
    lead: Option<Lead>,
    beat: Option<Pushed>,
    push: Option<Range>,
    /// The push that is there goes on where the turn under way ends.
    continues: bool,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.lead.is_none() && self.beat.is_none() && self.push.is_none()
    }
}

impl Outgoing {
    /// The follower goes on where its answer says: what waits of the attempt before is void. This and
    /// the other two say whether there is a turn that was not there.
    pub(super) fn lead(&mut self, partition: TopicPartition, lead: Lead) -> bool {
        let (entry, new) = self.entry(partition);
        *entry = Entry { lead: Some(lead), ..Entry::default() };
        new
    }

    pub(super) fn beat(&mut self, partition: TopicPartition, beat: Pushed) -> bool {
        let (entry, new) = self.entry(partition);
        entry.beat = Some(beat);
        new
    }

    pub(super) fn push(&mut self, partition: TopicPartition, range: Range) -> bool {
        if range.from >= range.up_to {
            return false;
        }
        let (entry, new) = self.entry(partition);
        match &mut entry.push {
            Some(push) if push.attempt == range.attempt => {
                // Back behind what the turn under way began with: all of it goes out once more.
                entry.continues &= range.from >= push.from;
                push.from = push.from.min(range.from);
                push.up_to = push.up_to.max(range.up_to);
            }
            push => {
                *push = Some(range);
                entry.continues = false;
            }
        }
        new
    }

    /// The next turn.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let partition = self.ready.pop_front()?;
        let Slot::Occupied(mut slot) = self.entries.entry(partition) else {
            unreachable!("what is ready has an entry");
        };
        let entry = slot.get_mut();
        let turn = Turn { partition, lead: entry.lead.take(), beat: entry.beat.take(), push: entry.push };
        entry.continues = true;
        if turn.push.is_none() {
            slot.remove();
        }
        Some(turn)
    }

    /// The turn's push was sent below `next`. What is left, or came meanwhile, waits for the next turn,
    /// behind all others that wait.
    pub(super) fn done(&mut self, partition: TopicPartition, next: Offset) {
        let Slot::Occupied(mut slot) = self.entries.entry(partition) else { return };
        let entry = slot.get_mut();
        if entry.continues {
            entry.push = entry.push.filter(|push| next < push.up_to).map(|push| Range { from: next, ..push });
        }
        if entry.is_empty() {
            slot.remove();
        } else {
            self.ready.push_back(partition);
        }
    }

    /// Partitions with something to send.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&mut self, partition: TopicPartition) -> (&mut Entry, bool) {
        match self.entries.entry(partition) {
            Slot::Occupied(slot) => (slot.into_mut(), false),
            Slot::Vacant(slot) => {
                self.ready.push_back(partition);
                (slot.insert(Entry::default()), true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::partition;
    use crate::tests::values::{beat, lead};

    fn range(attempt: u32, from: u64, up_to: u64) -> Range {
        Range { attempt: Attempt(attempt), from: Offset(from), up_to: Offset(up_to) }
    }

    fn next_push(out: &mut Outgoing) -> Option<(TopicPartition, Range)> {
        out.next().and_then(|turn| turn.push.map(|push| (turn.partition, push)))
    }

    #[test]
    fn pushes_of_one_attempt_are_one() {
        let mut out = Outgoing::default();
        assert!(out.push(partition(1), range(1, 0, 10)));
        assert!(!out.push(partition(1), range(1, 10, 30)));
        assert!(!out.push(partition(1), range(1, 30, 30)));
        assert_eq!(next_push(&mut out), Some((partition(1), range(1, 0, 30))));
        assert!(!out.push(partition(1), range(1, 30, 40)), "its turn is under way");
        assert_eq!(out.next(), None);
        out.done(partition(1), Offset(20));
        assert_eq!(next_push(&mut out), Some((partition(1), range(1, 20, 40))));
        out.done(partition(1), Offset(40));
        assert_eq!((out.next(), out.len()), (None, 0));
    }

    #[test]
    fn another_attempt_begins_anew_whatever_is_under_way() {
        let mut out = Outgoing::default();
        out.push(partition(1), range(1, 0, 10));
        out.next().unwrap();
        out.push(partition(1), range(2, 3, 12));
        out.done(partition(1), Offset(10));
        assert_eq!(next_push(&mut out), Some((partition(1), range(2, 3, 12))));
        out.push(partition(1), range(2, 1, 13));
        out.done(partition(1), Offset(12));
        assert_eq!(next_push(&mut out), Some((partition(1), range(2, 1, 13))), "it went back");
    }

    #[test]
    fn a_lead_comes_before_the_pushes_after_it_and_voids_those_before() {
        let mut out = Outgoing::default();
        out.push(partition(1), range(1, 0, 10));
        out.beat(partition(1), beat(1));
        out.next().unwrap();
        out.lead(partition(1), lead(2));
        out.lead(partition(1), lead(3));
        out.push(partition(1), range(3, 0, 5));
        out.beat(partition(1), beat(3));
        out.beat(partition(1), beat(4));
        assert_eq!(out.next(), None);
        out.done(partition(1), Offset(10));
        let turn = out.next().unwrap();
        assert_eq!((turn.lead, turn.beat, turn.push), (Some(lead(3)), Some(beat(4)), Some(range(3, 0, 5))));
    }

    #[test]
    fn partitions_take_turns() {
        let mut out = Outgoing::default();
        for n in 0..3 {
            out.push(partition(n), range(1, 0, 100));
        }
        let mut turns = Vec::new();
        for turn in 1..=6 {
            let (partition, push) = next_push(&mut out).unwrap();
            turns.push(partition.partition.0);
            assert_eq!(push.from, Offset((turn - 1) / 3 * 10));
            out.done(partition, Offset(push.from.0 + 10));
        }
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn what_needs_no_reading_leaves_nothing_behind() {
        let mut out = Outgoing::default();
        assert!(out.lead(partition(1), lead(1)));
        assert!(out.beat(partition(2), beat(1)));
        assert_eq!(out.next().unwrap().lead, Some(lead(1)));
        assert_eq!(out.next().unwrap().beat, Some(beat(1)));
        assert_eq!((out.next(), out.len()), (None, 0));
    }
}
