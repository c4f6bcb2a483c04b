//! What waits to be answered to leaders: one entry for each partition, whatever comes meanwhile.

use std::collections::VecDeque;
use std::collections::hash_map::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tidelog_model::{NodeId, TopicPartition};
use tidelog_replica::{Ack, Refusal};
use tokio::sync::Notify;

use crate::limits::MESH_FRAME_MESSAGES;
use crate::replication::ToLeader;

/// The leaders' lanes. A leader's newest lane gets the answers; when that ends, the one before it, if
/// it is still there.
#[derive(Debug, Default)]
pub(super) struct Leaders(RwLock<HashMap<NodeId, Vec<Arc<Answers>>>>);

impl Leaders {
    pub(super) fn begin(&self, leader: NodeId) -> Arc<Answers> {
        let answers = Arc::<Answers>::default();
        self.0.write().entry(leader).or_default().push(Arc::clone(&answers));
        answers
    }

    pub(super) fn end(&self, leader: NodeId, answers: &Arc<Answers>) {
        let mut leaders = self.0.write();
        if let Some(lanes) = leaders.get_mut(&leader) {
            lanes.retain(|lane| !Arc::ptr_eq(lane, answers));
            if lanes.is_empty() {
                leaders.remove(&leader);
            }
        }
    }

    /// False when the leader has no lane.
    pub(super) fn with(&self, leader: NodeId, put: impl FnOnce(&Answers)) -> bool {
        let leaders = self.0.read();
        let newest = leaders.get(&leader).and_then(|lanes| lanes.last());
        newest.map(|answers| put(answers)).is_some()
    }
}

/// One lane's answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: Mutex<Waiting>,
    /// Something is there to be sent.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: HashMap<TopicPartition, Entry>,
    /// The partitions of `entries`, as they came.
    order: VecDeque<TopicPartition>,
}

/// At least one of both.
#[derive(Debug, Default)]
struct Entry {
    ack: Option<Ack>,
    refusal: Option<Refusal>,
    /// Both are there, and the refusal came first.
    refusal_first: bool,
}

impl Answers {
    /// Acknowledgements are cumulative. That one of them answers a Lead stays true of a later one of the
    /// same attempt: the leader would wait for it.
    pub(super) fn ack(&self, partition: TopicPartition, ack: Ack) {
        self.put(partition, |entry| {
            let same = |waiting: &Ack| waiting.epoch == ack.epoch && waiting.attempt == ack.attempt;
            let answers_lead = entry.ack.is_some_and(|waiting| waiting.answers_lead && same(&waiting));
            entry.ack = Some(Ack { answers_lead: ack.answers_lead || answers_lead, ..ack });
            entry.refusal_first = entry.refusal.is_some();
        });
    }

    pub(super) fn refuse(&self, partition: TopicPartition, refusal: Refusal) {
        self.put(partition, |entry| {
            entry.refusal = Some(refusal);
            entry.refusal_first = false;
        });
    }

    fn put(&self, partition: TopicPartition, put: impl FnOnce(&mut Entry)) {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let wakes = waiting.order.is_empty();
        put(waiting.entries.entry(partition).or_insert_with(|| {
            waiting.order.push_back(partition);
            Entry::default()
        }));
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Takes what waits, as much as belongs into one frame.
    pub(super) fn take(&self, into: &mut Vec<ToLeader>) {
        let mut waiting = self.waiting.lock();
        while into.len() < MESH_FRAME_MESSAGES
            && let Some(partition) = waiting.order.pop_front()
        {
            let Some(Entry { ack, refusal, refusal_first }) = waiting.entries.remove(&partition) else {
                continue;
            };
            let refusal = refusal.map(|refusal| ToLeader::Refusal(partition, refusal));
            let (before, after) = if refusal_first { (refusal, None) } else { (None, refusal) };
            into.extend(before);
            into.extend(ack.map(|ack| ToLeader::Ack(partition, ack)));
            into.extend(after);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidelog_model::{LeaderEpoch, Offset};
    use tidelog_replica::{Attempt, RefusalReason};

    use super::*;
    use crate::tests::values::ack;
    use crate::tests::{instance, partition};

    fn refusal(attempt: u32) -> Refusal {
        let reason = RefusalReason::NotFollowing;
        Refusal { from: instance(2), refused: LeaderEpoch(5), attempt: Attempt(attempt), reason }
    }

    fn taken(answers: &Answers) -> Vec<ToLeader> {
        let mut taken = Vec::new();
        answers.take(&mut taken);
        taken
    }

    #[test]
    fn the_newest_of_each_partition_is_sent() {
        let answers = Answers::default();
        for n in 0..1000 {
            answers.ack(partition(n as u32 % 2), ack(1, false, n));
        }
        let (first, second) = (ack(1, false, 998), ack(1, false, 999));
        assert_eq!(
            taken(&answers),
            [ToLeader::Ack(partition(0), first), ToLeader::Ack(partition(1), second)]
        );
        assert_eq!(taken(&answers), []);
    }

    #[test]
    fn an_acknowledgement_and_a_refusal_keep_their_order() {
        let answers = Answers::default();
        let refused = ToLeader::Refusal(partition(0), refusal(1));
        let acked = ToLeader::Ack(partition(0), ack(1, true, 1));
        answers.ack(partition(0), ack(1, true, 1));
        answers.refuse(partition(0), refusal(1));
        assert_eq!(taken(&answers), [acked, refused]);
        answers.refuse(partition(0), refusal(1));
        answers.ack(partition(0), ack(1, true, 1));
        assert_eq!(taken(&answers), [refused, acked]);
    }

    #[test]
    fn a_frame_takes_so_many_and_leaves_the_rest() {
        let answers = Answers::default();
        let many = MESH_FRAME_MESSAGES as u32 + 10;
        for n in 0..many {
            answers.ack(partition(n), ack(1, false, 1));
        }
        assert_eq!(taken(&answers).len(), MESH_FRAME_MESSAGES);
        assert_eq!(taken(&answers).len(), 10);
    }

    #[test]
    fn a_leaders_newest_lane_answers_and_then_the_one_before() {
        let leaders = Leaders::default();
        let (older, newer) = (leaders.begin(NodeId(1)), leaders.begin(NodeId(1)));
        let answer = || leaders.with(NodeId(1), |answers| answers.ack(partition(0), ack(1, false, 1)));
        assert!(answer());
        assert_eq!((taken(&older).len(), taken(&newer).len()), (0, 1));
        leaders.end(NodeId(1), &newer);
        assert!(answer());
        assert_eq!(taken(&older).len(), 1);
        leaders.end(NodeId(1), &older);
        assert!(!answer());
    }

    proptest! {
        /// Whatever is taken when: of the newest attempt, an answer to its Lead is sent if there was one,
        /// and so is the furthest acknowledgement.
        #[test]
        fn that_a_lead_was_answered_is_never_lost(
            steps in prop::collection::vec((0_u32..3, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let answers = Answers::default();
            let mut sent = Vec::new();
            let (mut attempt, mut answered) = (0, false);
            for (n, (newer, answers_lead, take)) in steps.iter().enumerate() {
                if *newer == 2 {
                    (attempt, answered) = (attempt + 1, false);
                }
                answered |= answers_lead;
                answers.ack(partition(0), ack(attempt, *answers_lead, n as u64));
                if *take {
                    answers.take(&mut sent);
                }
            }
            answers.take(&mut sent);
            let acks = sent.iter().map(|answer| match answer {
                ToLeader::Ack(_, ack) => *ack,
                ToLeader::Refusal(..) => unreachable!("nothing was refused"),
            });
            let newest: Vec<_> = acks.filter(|ack| ack.attempt == Attempt(attempt)).collect();
            prop_assert_eq!(newest.iter().any(|ack| ack.answers_lead), answered);
            prop_assert_eq!(newest.last().map(|ack| ack.durable), Some(Offset(steps.len() as u64 - 1)));
        }
    }
}
