//! From plans to jobs, and from what jobs came to back into the image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt as _;
use tidelog_meta::MetaError;
use tidelog_model::TopicPartition;

use super::jobs::{self, Done};
use super::{End, Lead};
use crate::commit::Committed;
use crate::plan::election::{self, Reports};
use crate::plan::leadership::{self, Move};
use crate::plan::{self, Allowed, Change, Reason, World};

/// When a partition is looked at again whose election found nobody, or whose change met another one.
const AGAIN_SOON: Duration = Duration::from_millis(250);

/// The same, where there is no hurry.
const AGAIN_LATER: Duration = Duration::from_secs(2);

/// The same, where the plan was wrong.
const AGAIN_MUCH_LATER: Duration = Duration::from_mins(1);

impl Lead {
    /// Plans, and starts what was decided.
    pub(super) fn pass(&mut self) {
        self.pass_at = None;
        let now = self.now();
        let options = self.context.options;
        let mut busy = self.busy.clone();
        busy.extend(self.patience.keys().chain(self.cooling.keys()));
        let mut allowed = Allowed::default();
        if now >= self.timers.prefer {
            allowed.prefer = options.prefer_at_once;
            self.timers.prefer = now + options.prefer_every;
        }
        if options.balance && now >= self.timers.balance {
            allowed.balance = true;
            self.timers.balance = now + options.balance_every;
        }
        let plan = plan::plan(&World::new(&self.image, &self.view), &busy, &options, allowed);
        self.start_elections(plan.elect);
        self.start_moves(plan.moves);
        self.start_commit(plan.changes);
    }

    fn start_elections(&mut self, partitions: Vec<TopicPartition>) {
        if partitions.is_empty() {
            return;
        }
        self.busy.extend(&partitions);
        let asked = election::whom_to_ask(&World::new(&self.image, &self.view), &partitions, false);
        let addressed = jobs::addressed(&self.image, asked);
        let context = Arc::clone(&self.context);
        let job = async move {
            let reports = jobs::ask(&context, addressed).await;
            Done::Reported { partitions, reports }
        };
        self.jobs.push(job.boxed());
    }

    pub(super) fn start_moves(&mut self, moves: Vec<Move>) {
        if moves.is_empty() {
            return;
        }
        self.busy.extend(moves.iter().map(|step| step.partition));
        self.jobs.push(jobs::hand_over(&self.context, &self.image, moves));
    }

    fn start_commit(&mut self, changes: Vec<Change>) {
        let sound = self.sound(changes);
        if !sound.is_empty() {
            self.busy.extend(sound.iter().map(|change| change.partition));
            self.jobs.push(jobs::committing(&self.context, sound));
        }
    }

    /// The changes that break no rule. All are planned so that none does; this stands between a mistake
    /// in the plan and the data.
    pub(super) fn sound(&mut self, mut changes: Vec<Change>) -> Vec<Change> {
        let until = self.now() + AGAIN_MUCH_LATER;
        changes.retain(|change| {
            let world = World::new(&self.image, &self.view);
            let Some(old) = self.image.partition(change.partition) else { return false };
            let floor = world.floor(change.partition, old);
            match plan::check(old, &change.record, floor, change.reason) {
                Ok(()) => true,
                Err(violation) => {
                    let (partition, reason) = (change.partition, change.reason);
                    tracing::error!(%partition, ?reason, %violation, "a plan breaks a rule and is not carried out");
                    self.busy.remove(&partition);
                    self.patience.insert(partition, until);
                    false
                }
            }
        });
        changes
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Reported { partitions, reports } => self.on_reported(&partitions, &reports),
            Done::HandedOver(moves) => self.on_handed_over(&moves),
            Done::Committed(committed) => self.on_committed(committed),
            Done::Sizes(sizes) => {
                self.view.sizes.extend(sizes.iter().map(|size| (size.partition, size.bytes)));
                self.forget_deleted();
            }
            Done::Deposed => self.end = Some(End::Deposed),
            Done::Then(rest) => rest(self),
        }
    }

    fn on_reported(&mut self, partitions: &[TopicPartition], reports: &Reports) {
        let world = World::new(&self.image, &self.view);
        let changes: Vec<_> =
            partitions.iter().filter_map(|id| election::elect(&world, *id, reports)).collect();
        self.release(partitions.iter().copied(), AGAIN_SOON);
        self.resume(&changes);
        self.start_commit(changes);
    }

    fn on_handed_over(&mut self, moves: &[Move]) {
        let world = World::new(&self.image, &self.view);
        let changes: Vec<_> = moves.iter().filter_map(|step| leadership::carry_out(&world, step)).collect();
        self.release(moves.iter().map(|step| step.partition), AGAIN_LATER);
        self.resume(&changes);
        self.start_commit(changes);
    }

    /// Lets go of partitions that nothing came of, for a while.
    fn release(&mut self, partitions: impl Iterator<Item = TopicPartition>, pause: Duration) {
        let until = self.now() + pause;
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

    pub(super) fn on_committed(&mut self, committed: Committed) {
        report(&committed);
        let failed = !committed.conflicts.is_empty() || !committed.unknown.is_empty();
        let cool = self.now() + AGAIN_LATER;
        for (change, revision) in committed.done {
            self.busy.remove(&change.partition);
            if change.reason == Reason::Renewal {
                self.cooling.insert(change.partition, cool);
            }
            self.image.put_partition(change.partition, change.record, revision);
        }
        self.release(committed.conflicts.into_iter(), AGAIN_SOON);
        self.release(committed.unknown.into_iter(), AGAIN_SOON);
        self.release(committed.unavailable.into_iter(), AGAIN_SOON);
        // The watch may be the reason: what was compared is read anew.
        self.stale |= failed;
        if committed.deposed {
            self.end = Some(End::Deposed);
        }
        if let Some(error @ (MetaError::Closed | MetaError::Failed(_))) = committed.error {
            self.end = Some(End::Failed(error));
        }
        self.plan_soon();
    }

    pub(super) fn ask_for_sizes(&mut self, now: Duration) {
        if now >= self.timers.sizes {
            self.timers.sizes = now + self.context.options.sizes_every;
            let world = World::new(&self.image, &self.view);
            let stores: Vec<_> =
                self.image.live_nodes().filter(|live| world.up(live.node).is_some()).cloned().collect();
            self.jobs.push(jobs::sizes(&self.context, stores));
        }
    }
}

fn report(committed: &Committed) {
    let mut reasons = BTreeMap::<Reason, usize>::new();
    for (change, _) in &committed.done {
        *reasons.entry(change.reason).or_default() += 1;
    }
    for (reason, partitions) in reasons {
        tracing::info!(?reason, partitions, "partitions changed");
    }
    let (conflicts, unknown) = (committed.conflicts.len(), committed.unknown.len());
    let unavailable = committed.unavailable.len();
    if conflicts + unknown + unavailable > 0 {
        let error = committed.error.as_ref().map(ToString::to_string);
        tracing::warn!(conflicts, unknown, unavailable, error, "partitions could not be changed yet");
    }
}
