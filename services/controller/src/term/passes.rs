//! From plans to errands, and from what errands came to back into the image.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelog_meta::{Image, Live};
use tidelog_model::{NodeId, TopicPartition};
use tidelog_peer::HandOver;

use super::{Errand, Term};
use crate::commit::Committed;
use crate::plan::election::{self, Reports};
use crate::plan::leadership::{self, Move};
use crate::plan::{self, Allowed, Change, Reason};

/// When a partition is looked at again whose election found nobody, or whose change met another one.
const AGAIN_SOON: Duration = Duration::from_millis(250);

/// The same, where there is no hurry.
const AGAIN_LATER: Duration = Duration::from_secs(2);

/// The same, where the plan was wrong.
const AGAIN_MUCH_LATER: Duration = Duration::from_mins(1);

impl Term {
    /// Plans. What comes out is to be begun now.
    pub fn pass(&mut self, now: Duration) -> Vec<Errand> {
        self.pass_at = None;
        self.vouch();
        let mut busy = self.busy.clone();
        busy.extend(self.patience.keys().chain(self.cooling.keys()));
        let mut allowed = Allowed::default();
        if now >= self.due.prefer {
            allowed.prefer = self.options.prefer_at_once;
            self.due.prefer = now + self.options.prefer_every;
        }
        if self.options.balance && now >= self.due.balance {
            allowed.balance = true;
            self.due.balance = now + self.options.balance_every;
        }
        let plan = plan::plan(&self.world(), &busy, &self.options, allowed);
        let elections = self.begin_elections(plan.elect);
        let moves = self.begin_moves(plan.moves);
        let changes = self.begin_changes(plan.changes, now);
        elections.into_iter().chain(moves).chain(changes).collect()
    }

    fn begin_elections(&mut self, partitions: Vec<TopicPartition>) -> Option<Errand> {
        if partitions.is_empty() {
            return None;
        }
        self.busy.extend(&partitions);
        let asked = election::whom_to_ask(&self.world(), &partitions, false);
        let stores = addressed(&self.image, asked);
        Some(Errand::Ask { partitions, stores })
    }

    fn begin_moves(&mut self, moves: Vec<Move>) -> Option<Errand> {
        if moves.is_empty() {
            return None;
        }
        self.busy.extend(moves.iter().map(|step| step.partition));
        let mut by_leader: BTreeMap<NodeId, Vec<HandOver>> = BTreeMap::new();
        for step in &moves {
            let request = HandOver { partition: step.partition, epoch: step.epoch, to: step.to };
            by_leader.entry(step.from).or_default().push(request);
        }
        let leaders = addressed(&self.image, by_leader);
        Some(Errand::HandOver { moves, leaders })
    }

    /// What of an operator's changes, or of a plan's, is sound; `None` when there is nothing.
    pub fn begin_changes(&mut self, changes: Vec<Change>, now: Duration) -> Option<Errand> {
        let sound = self.sound(changes, now);
        self.busy.extend(sound.iter().map(|change| change.partition));
        (!sound.is_empty()).then_some(Errand::Commit(sound))
    }

    /// The changes that break no rule. All are planned so that none does; this stands between a mistake
    /// in the plan and the data.
    fn sound(&mut self, mut changes: Vec<Change>, now: Duration) -> Vec<Change> {
        changes.retain(|change| {
            let Some(old) = self.image.partition(change.partition) else { return false };
            let floor = self.world().floor(change.partition, old);
            match plan::check(old, &change.record, floor, change.reason) {
                Ok(()) => true,
                Err(violation) => {
                    let (partition, reason) = (change.partition, change.reason);
                    tracing::error!(%partition, ?reason, %violation, "a plan breaks a rule and is not carried out");
                    self.rules_broken += 1;
                    self.busy.remove(&partition);
                    self.patience.insert(partition, now + AGAIN_MUCH_LATER);
                    false
                }
            }
        });
        changes
    }

    /// The stores that could be asked have told about these partitions.
    pub fn reported(
        &mut self,
        partitions: &[TopicPartition],
        reports: &Reports,
        now: Duration,
    ) -> Option<Errand> {
        let world = self.world();
        let changes: Vec<_> =
            partitions.iter().filter_map(|id| election::elect(&world, *id, reports)).collect();
        self.release(partitions.iter().copied(), now + AGAIN_SOON);
        self.resume(&changes);
        self.begin_changes(changes, now)
    }

    /// The leaders have let go, or had their time to.
    pub fn handed_over(&mut self, moves: &[Move], now: Duration) -> Option<Errand> {
        let world = self.world();
        let changes: Vec<_> = moves.iter().filter_map(|step| leadership::carry_out(&world, step)).collect();
        self.release(moves.iter().map(|step| step.partition), now + AGAIN_LATER);
        self.resume(&changes);
        self.begin_changes(changes, now)
    }

    /// Lets go of partitions that nothing came of, until some time.
    fn release(&mut self, partitions: impl IntoIterator<Item = TopicPartition>, until: Duration) {
        for partition in partitions {
            self.busy.remove(&partition);
            self.patience.insert(partition, until);
        }
    }

    fn resume(&mut self, changes: &[Change]) {
        for change in changes {
            self.patience.remove(&change.partition);
        }
    }

    /// What became of an [`Errand::Commit`]. Whether the term ends with it is the holder's business.
    pub fn committed(&mut self, committed: Committed, now: Duration) {
        let failed = !committed.conflicts.is_empty() || !committed.unknown.is_empty();
        for (change, revision) in committed.done {
            self.busy.remove(&change.partition);
            if change.reason == Reason::Renewal {
                self.cooling.insert(change.partition, now + AGAIN_LATER);
            }
            self.image.put_partition(change.partition, change.record, revision);
        }
        self.release(committed.conflicts, now + AGAIN_SOON);
        self.release(committed.unknown, now + AGAIN_SOON);
        self.release(committed.unavailable, now + AGAIN_SOON);
        // The watch may be the reason: what was compared is read anew.
        self.stale |= failed;
        self.plan_soon(now);
    }

    /// Takes away what makes things go bit by bit, once. Answers how many leaderships go back to their
    /// preferred replicas, and what is to be begun.
    pub fn rebalance(&mut self, now: Duration) -> (usize, Option<Errand>) {
        self.due.balance = now;
        let mut busy = self.busy.clone();
        busy.extend(self.patience.keys());
        let moves = leadership::moves(&self.world(), &busy, usize::MAX, usize::MAX);
        let preferred = moves.iter().filter(|step| step.reason == Reason::Preferred).count();
        let errand = self.begin_moves(moves);
        self.plan_now(now);
        (preferred, errand)
    }
}

/// Who is to be told what, with what is known of how to reach them.
pub(super) fn addressed<T>(image: &Image, told: BTreeMap<NodeId, T>) -> Vec<(Live, T)> {
    told.into_iter().filter_map(|(node, what)| Some((image.live(node)?.clone(), what))).collect()
}
