//! When a subscription may say that it has reached the end.
//!
//! The hazard: the answer to a fetch may come from a replica that is behind, or from a leader that is
//! none any more and does not know it yet; the end that it tells was the end at some time. Only the
//! leader's answer about the end is certain to know all that was acknowledged before it was asked.
//!
//! So the leader is asked when the subscription reaches an end, once. From there on it is enough that
//! ends only grow: every later one that a replica tells was the partition's end at some time since. A
//! subscription that stays at the end never asks again; one that falls behind asks when it is back.

use tidelog_model::Offset;

/// What a subscription knows of its partition's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EndWatch {
    /// The largest end that anyone told.
    known: Offset,
    /// The leader told an end, and the subscription has stayed at the end since.
    confirmed: bool,
    /// The last answer had no more: the next one is worth waiting for.
    waits: bool,
    /// The client knows that it has everything.
    told: bool,
}

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: there is more, or the client knows.
    GoOn,
    /// Tell the client that it has everything.
    Say,
    /// Ask the leader for the end.
    Confirm,
}

impl EndWatch {
    /// Whether the next fetch should wait for records.
    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Records were sent up to `position`; the answer they came with told an end.
    pub(super) fn on_records(&mut self, position: Offset, end: Offset) -> Next {
        self.told = false;
        self.known = self.known.max(end);
        self.waits = position >= end;
        if position < self.known {
            // At the end of what this replica has, and known to be behind.
            self.confirmed &= self.waits;
            return Next::GoOn;
        }
        self.reached()
    }

    /// The answer was that there is nothing at `position`, whatever end it told.
    pub(super) fn on_nothing(&mut self, position: Offset, end: Offset) -> Next {
        self.waits = true;
        self.known = self.known.max(end);
        match self.told {
            true => Next::GoOn,
            false if position < self.known => Next::Confirm,
            false => self.reached(),
        }
    }

    /// The leader's answer, asked for at `position`. It may be lower than what was told before, when an
    /// unclean election took records back.
    pub(super) fn on_confirmed(&mut self, position: Offset, end: Offset) -> Next {
        self.known = end;
        self.confirmed = true;
        if position < end { Next::GoOn } else { self.reached() }
    }

    /// The subscription reads what is older.
    pub(super) fn on_behind(&mut self) {
        *self = Self { known: self.known, ..Self::default() };
    }

    fn reached(&mut self) -> Next {
        if !self.confirmed {
            return Next::Confirm;
        }
        self.told = true;
        Next::Say
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_asked_once_by_a_subscription_that_stays_at_the_end() {
        let mut watch = EndWatch::default();
        assert_eq!(watch.on_records(Offset(5), Offset(10)), Next::GoOn);
        assert!(!watch.waits());
        assert_eq!(watch.on_records(Offset(10), Offset(10)), Next::Confirm);
        assert_eq!(watch.on_confirmed(Offset(10), Offset(10)), Next::Say);
        assert!(watch.waits());
        for end in 11..20 {
            assert_eq!(watch.on_nothing(Offset(end - 1), Offset(end - 1)), Next::GoOn);
            assert_eq!(watch.on_records(Offset(end), Offset(end)), Next::Say);
        }
        assert_eq!(watch.on_records(Offset(20), Offset(30)), Next::GoOn);
        assert_eq!(watch.on_records(Offset(30), Offset(30)), Next::Confirm, "it was behind");
    }

    #[test]
    fn a_replica_that_is_behind_is_not_believed() {
        let mut watch = EndWatch::default();
        assert_eq!(watch.on_nothing(Offset(10), Offset(10)), Next::Confirm);
        assert_eq!(watch.on_confirmed(Offset(10), Offset(30)), Next::GoOn);
        assert!(watch.waits(), "for the replica to catch up");
        assert_eq!(watch.on_records(Offset(20), Offset(20)), Next::GoOn);
        assert_eq!(watch.on_records(Offset(30), Offset(30)), Next::Say, "the leader told this end");
        assert_eq!(watch.on_records(Offset(31), Offset(33)), Next::GoOn);
        assert_eq!(
            watch.on_nothing(Offset(31), Offset(31)),
            Next::Confirm,
            "another replica, further behind"
        );
        assert_eq!(watch.on_confirmed(Offset(31), Offset(33)), Next::GoOn);
    }

    #[test]
    fn an_end_that_went_back_is_believed_from_the_leader_only() {
        let mut watch = EndWatch::default();
        assert_eq!(watch.on_nothing(Offset(10), Offset(30)), Next::Confirm);
        assert_eq!(watch.on_confirmed(Offset(10), Offset(10)), Next::Say);
        assert_eq!(watch.on_nothing(Offset(10), Offset(10)), Next::GoOn, "the client knows");
    }
}
