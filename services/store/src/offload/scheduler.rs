//! Decides when what goes to the bucket.
//!
//! One task looks at all partitions a few times a second, starts passes over the journal for those that
//! are due, and answers commands. Partitions that failed are left alone for a while, longer each time;
//! the hot tier goes on taking records meanwhile, and the backlog shows in every description.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::StoreError;
use tidelog_runtime::CancellationToken;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::due::{self, Candidate, PassLimits};
use super::error::OffloadError;
use super::job::Job;
use super::pass::{self, Outcome};
use crate::node::Node;
use crate::partition::Partition;

/// How often partitions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Passes at a time: while one waits for its last uploads, the next one reads.
pub(crate) const PASSES_MAX: usize = 2;

/// How full the hot tier may be before records are moved that are neither old nor many.
const COMFORTABLE_PERCENT: u64 = 60;

/// Commands that wait to be looked at.
const COMMANDS_MAX: usize = 256;

const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Asks for offloads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Offloader {
    commands: mpsc::Sender<Command>,
}

/// Move these partitions up to these offsets, now.
#[derive(Debug)]
struct Command {
    targets: HashMap<TopicPartition, Offset>,
    /// The first pass that begins after the command came: what went wrong in earlier ones says nothing
    /// about it.
    first_pass: u64,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Offloader {
    /// A handle, and what [`Scheduler`] listens to.
    pub(crate) fn new() -> (Self, Inbox) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        (Self { commands }, Inbox(inbox))
    }

    /// Moves everything readable of `partitions` to the bucket; returns when the pointers are committed.
    pub(crate) async fn offload(&self, partitions: &[Arc<Partition>]) -> Result<(), StoreError> {
        let stopped = || StoreError::from(ErrorCode::ShuttingDown);
        let mut targets = HashMap::new();
        for partition in partitions.iter().filter(|partition| partition.check_leads().is_ok()) {
            if partition.with_tiered(|_| ()).is_none() {
                let message = format!("{}: what the bucket has is still being read", partition.id);
                return Err(StoreError::new(ErrorCode::LeaderNotAvailable, message));
            }
            targets.insert(partition.id, partition.untiered().1);
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command { targets, first_pass: 0, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// Where the scheduler gets its commands from.
#[derive(Debug)]
pub(crate) struct Inbox(mpsc::Receiver<Command>);

#[derive(Clone, Copy, Debug)]
struct Backoff {
    failures: u32,
    until: Instant,
}

pub(crate) struct Scheduler {
    node: Arc<Node>,
    limits: PassLimits,
    commands: Vec<Command>,
    busy: HashSet<TopicPartition>,
    backoff: HashMap<TopicPartition, Backoff>,
    /// Each with its number.
    passes: JoinSet<(u64, Vec<Outcome>)>,
    next_pass: u64,
    /// The newest pass failed for some partition.
    failing: bool,
}

impl Scheduler {
    pub(crate) fn new(node: Arc<Node>, limits: PassLimits) -> Self {
        Self {
            node,
            limits,
            commands: Vec::new(),
            busy: HashSet::new(),
            backoff: HashMap::new(),
            passes: JoinSet::new(),
            next_pass: 0,
            failing: false,
        }
    }

    /// Runs until cancelled. Passes that are under way are dropped then: what they uploaded without
    /// publishing is repeated after the next start.
    pub(crate) async fn run(mut self, mut inbox: Inbox, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ended) = self.passes.join_next() => match ended {
                    Ok((pass, outcomes)) => self.on_pass_ended(pass, outcomes),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
                command = inbox.0.recv() => match command {
                    Some(command) => {
                        self.commands.push(Command { first_pass: self.next_pass, ..command });
                    }
                    None => return,
                },
                _ = look.tick() => {}
            }
            self.start_passes();
            self.answer_commands();
        }
    }

    fn start_passes(&mut self) {
        while self.passes.len() < PASSES_MAX {
            let jobs = self.choose();
            if jobs.is_empty() {
                return;
            }
            self.busy.extend(jobs.iter().map(|job| job.partition.id));
            let (number, running) = (self.next_pass, pass::run(Arc::clone(&self.node), jobs));
            self.passes.spawn(async move { (number, running.await) });
            self.next_pass += 1;
        }
    }

    fn choose(&self) -> Vec<Job> {
        let now = self.node.clock.now();
        let mut partitions = HashMap::new();
        let mut candidates = Vec::new();
        for partition in self.node.catalog.partitions() {
            if let Some(candidate) = self.candidate(&partition) {
                candidates.push(candidate);
                partitions.insert(partition.id, partition);
            }
        }
        let untiered_bytes = candidates.iter().map(|candidate| candidate.untiered_bytes).sum();
        let pressure_bytes = self.pressure_bytes(untiered_bytes);
        due::select(candidates, now, pressure_bytes, self.limits)
            .into_iter()
            .map(|plan| {
                let id = plan.candidate.partition;
                let partition = partitions.remove(&id).expect("one candidate each");
                let (start, limit) = partition.untiered();
                let span = start..plan.stop(start, limit);
                let epoch = partition.leadership().epoch;
                Job { partition, span, limit, segment_bytes: plan.segment_bytes, epoch }
            })
            .collect()
    }

    /// How much the hot tier should get rid of to keep taking records.
    fn pressure_bytes(&self, untiered_bytes: u64) -> u64 {
        let stats = self.node.journal.stats();
        let comfortable = stats.budget_bytes / 100 * COMFORTABLE_PERCENT;
        if stats.backlog || stats.disk_full {
            // Little of it may be in the way: a file goes when the last record in it has gone.
            return (stats.budget_bytes - comfortable).max(untiered_bytes.saturating_sub(comfortable));
        }
        untiered_bytes.saturating_sub(comfortable)
    }

    fn candidate(&self, partition: &Partition) -> Option<Candidate> {
        let (start, end) = partition.untiered();
        if start >= end || self.busy.contains(&partition.id) || partition.check().is_err() {
            return None;
        }
        let commanded = self
            .commands
            .iter()
            .any(|command| command.targets.get(&partition.id).is_some_and(|target| *target > start));
        let rests = self.backoff.get(&partition.id).is_some_and(|backoff| backoff.until > Instant::now());
        if rests && !commanded {
            return None;
        }
        let local = self.node.journal.local(partition.id)?;
        let config = partition.topic.config();
        Some(Candidate {
            partition: partition.id,
            untiered_bytes: local.uncovered_bytes,
            oldest_append: local.oldest_uncovered_append?,
            segment_bytes: config.segment_bytes,
            age_ms_max: config.tier_max_age_ms,
            commanded,
        })
    }

    fn on_pass_ended(&mut self, pass: u64, outcomes: Vec<Outcome>) {
        let mut failures = Vec::new();
        for Outcome { partition, result } in outcomes {
            self.busy.remove(&partition);
            match result {
                Ok(()) => {
                    self.backoff.remove(&partition);
                }
                Err(error) => {
                    self.node.metrics.offload_failures.inc();
                    self.back_off(partition);
                    self.fail_commands(pass, partition, &error);
                    failures.push((partition, error));
                }
            }
        }
        match failures.first() {
            // Told once, until something goes through again.
            Some((partition, error)) if !self.failing => {
                let partitions = failures.len();
                tracing::warn!(%partition, partitions, %error, "records could not be moved to the bucket; trying again");
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!("records are moved to the bucket again");
                self.failing = false;
            }
            _ => {}
        }
    }

    fn back_off(&mut self, partition: TopicPartition) {
        let failures = self.backoff.get(&partition).map_or(0, |backoff| backoff.failures);
        let wait = BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
        let backoff = Backoff { failures: failures + 1, until: Instant::now() + wait };
        self.backoff.insert(partition, backoff);
    }

    fn fail_commands(&mut self, pass: u64, partition: TopicPartition, error: &OffloadError) {
        let (failed, rest) = std::mem::take(&mut self.commands)
            .into_iter()
            .partition(|command| command.first_pass <= pass && command.targets.contains_key(&partition));
        self.commands = rest;
        for command in failed {
            let Command { reply, .. } = command;
            let _ = reply.send(Err(error.to_store_error()));
        }
    }

    /// Answers the commands whose partitions have all reached their targets, or are gone; and those of
    /// which somebody else leads one by now, who is to be asked.
    fn answer_commands(&mut self) {
        let node = &self.node;
        let moved = |command: &Command| {
            let led =
                |id: &TopicPartition| node.catalog.partition(*id).map(|partition| partition.check_leads());
            command.targets.keys().find_map(|id| led(id).ok()?.err())
        };
        for command in std::mem::take(&mut self.commands) {
            match moved(&command) {
                Some(error) => drop(command.reply.send(Err(error))),
                None => self.commands.push(command),
            }
        }
        let open = |(id, target): (&TopicPartition, &Offset)| {
            node.catalog.partition(*id).is_ok_and(|partition| partition.untiered().0 < *target)
        };
        let (waiting, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commands)
            .into_iter()
            .partition(|command| command.targets.iter().any(open));
        self.commands = waiting;
        for command in done {
            let _ = command.reply.send(Ok(()));
        }
    }
}
