//! Reads everything that matters in a bucket and checks it.

use futures::StreamExt;
use serde::Serialize;
use tidelog_format::manifest::Entry;
use tidelog_format::segment::SegmentEntry;
use tidelog_model::{Offset, PartitionId, TopicId, TopicName, TopicPartition};

use super::segment::check_segment;
use super::survey::{OpenRoot, PartitionKeys, Survey};
use super::{InspectError, Problem, ProblemKind};
use crate::bucket::Bucket;
use crate::manifest::Manifests;

/// Memory for manifest nodes while a bucket is inspected.
pub(super) const NODE_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Problems beyond this many are counted, not listed.
pub const PROBLEMS_MAX: usize = 10_000;

/// What is to be verified and how.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// A topic's name or id; all topics when there is none.
    pub topic: Option<String>,
    /// How many segments are read at once; each takes up to 8 MiB of memory.
    pub concurrency: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { topic: None, concurrency: 8 }
    }
}

/// How much was read and found sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub objects: u64,
    pub bytes: u64,
    pub segments: u64,
    pub batches: u64,
    pub records: u64,
}

/// What was found of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionReport {
    pub topic: TopicId,
    pub name: Option<TopicName>,
    pub partition: PartitionId,
    pub log_start_offset: Offset,
    pub tiered_end_offset: Offset,
    pub checked: Checked,
    /// Segments, groups and states that the newest root does not name: of a root that was never
    /// committed, or replaced and not collected yet. They are not read and no problem.
    pub unreferenced_objects: u64,
    pub unreferenced_bytes: u64,
    pub problems: u64,
}

/// The result of [`verify`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub partitions: Vec<PartitionReport>,
    pub checked: Checked,
    /// The first [`PROBLEMS_MAX`] problems.
    pub problems: Vec<Problem>,
    pub problems_total: u64,
}

impl Report {
    /// Nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems_total == 0
    }

    fn add(&mut self, problems: impl IntoIterator<Item = Problem>) -> u64 {
        let mut added = 0;
        for problem in problems {
            added += 1;
            if self.problems.len() < PROBLEMS_MAX {
                self.problems.push(problem);
            }
        }
        self.problems_total += added;
        added
    }
}

/// Reads every object that the newest sound root of each partition names and checks it. `progress`
/// is told after every object how much was checked so far.
pub async fn verify(
    bucket: &Bucket,
    options: &VerifyOptions,
    mut progress: impl FnMut(&Checked),
) -> Result<Report, InspectError> {
    let survey = Survey::take(bucket).await?;
    let topics = survey.select(options.topic.as_deref())?;
    let mut report = Report::default();
    report.add(survey.problems.iter().cloned());
    for (tp, keys) in survey.partitions.iter().filter(|(tp, _)| topics.contains(&tp.topic)) {
        let mut partition = PartitionReport {
            topic: tp.topic,
            name: survey.topics.get(&tp.topic).and_then(Option::as_ref).map(|d| d.name.clone()),
            partition: tp.partition,
            log_start_offset: Offset::ZERO,
            tiered_end_offset: Offset::ZERO,
            checked: Checked::default(),
            unreferenced_objects: keys.stored.objects,
            unreferenced_bytes: keys.stored.bytes,
            problems: 0,
        };
        let (root, problems) = keys.newest_root(bucket, *tp).await?;
        partition.problems += report.add(problems);
        match root {
            Some(root) => {
                let mut walk = Walk::new(bucket, *tp, options.concurrency, &mut report, &mut progress);
                walk.partition(&root, keys, &mut partition).await?;
            }
            None => partition.problems += report.add(without_root(*tp, keys)),
        }
        report.partitions.push(partition);
    }
    Ok(report)
}

/// Segments without any root to name them may be of an upload that never finished.
fn without_root(tp: TopicPartition, keys: &PartitionKeys) -> Option<Problem> {
    (keys.has_roots())
        .then(|| Problem::new(ProblemKind::Damaged, "no root of the partition can be used").of(tp))
}

/// The walk over one partition's tree.
struct Walk<'a, P> {
    bucket: &'a Bucket,
    manifests: Manifests,
    tp: TopicPartition,
    concurrency: usize,
    report: &'a mut Report,
    progress: &'a mut P,
    found: Checked,
    problems: u64,
    /// First offset that no entry has covered yet.
    next: Offset,
    /// Objects and bytes that the root names.
    referenced: (u64, u64),
}

impl<'a, P: FnMut(&Checked)> Walk<'a, P> {
    fn new(
        bucket: &'a Bucket,
        tp: TopicPartition,
        concurrency: usize,
        report: &'a mut Report,
        progress: &'a mut P,
    ) -> Self {
        let manifests = Manifests::new(bucket.clone(), NODE_CACHE_BYTES);
        Self {
            bucket,
            manifests,
            tp,
            concurrency: concurrency.max(1),
            report,
            progress,
            found: Checked::default(),
            problems: 0,
            next: Offset::ZERO,
            referenced: (0, 0),
        }
    }

    async fn partition(
        &mut self,
        open: &OpenRoot,
        keys: &PartitionKeys,
        partition: &mut PartitionReport,
    ) -> Result<(), InspectError> {
        let root = &open.root;
        self.checked(u64::from(open.bytes));
        self.state(open).await?;
        self.next = root.log_start;
        self.entries(&root.entries).await?;
        if self.next < root.tiered_end {
            self.gap(self.next, root.tiered_end);
        }
        if (root.bytes, root.segments, root.records) != sums(&root.entries) {
            let problem = Problem::new(ProblemKind::Damaged, "the root's sums are not those of its entries");
            self.problem(problem.at(root.key()));
        }
        partition.log_start_offset = root.log_start;
        partition.tiered_end_offset = root.tiered_end;
        partition.checked = self.found;
        partition.problems += self.problems;
        partition.unreferenced_objects = keys.stored.objects.saturating_sub(self.referenced.0);
        partition.unreferenced_bytes = keys.stored.bytes.saturating_sub(self.referenced.1);
        Ok(())
    }

    async fn state(&mut self, open: &OpenRoot) -> Result<(), InspectError> {
        let reference = open.root.state;
        let pointer = open.root.pointer(open.bytes);
        match self.manifests.state(self.tp, &pointer).await {
            Ok(_) => {
                self.reference(u64::from(reference.bytes));
                self.checked(reference.bytes.into());
            }
            Err(error) => self.problem(Problem::of_manifest(error)?.at(reference.key(self.tp))),
        }
        Ok(())
    }

    /// Walks entries in order, groups with a stack: neither depth nor width needs recursion.
    async fn entries(&mut self, entries: &[Entry]) -> Result<(), InspectError> {
        let mut stack: Vec<Entry> = entries.iter().rev().copied().collect();
        let mut segments = Vec::new();
        while let Some(entry) = stack.pop() {
            if entry.first_offset > self.next {
                self.gap(self.next, entry.first_offset);
                self.next = entry.first_offset;
            }
            if let Some(segment) = entry.segment() {
                self.next = self.next.max(entry.next_offset());
                segments.push(segment);
                if segments.len() >= 16 * self.concurrency {
                    self.segments(&mut segments).await?;
                }
                continue;
            }
            match self.manifests.group(self.tp, &entry).await {
                Ok(group) => {
                    self.reference(entry.object_bytes());
                    self.checked(entry.object_bytes());
                    stack.extend(group.entries.iter().rev());
                }
                Err(error) => {
                    let problem = Problem::of_manifest(error)?.at(entry.key(self.tp));
                    self.problem(problem.offsets(entry.first_offset.0, entry.last_offset.0));
                    self.next = self.next.max(entry.next_offset());
                }
            }
        }
        self.segments(&mut segments).await
    }

    async fn segments(&mut self, segments: &mut Vec<SegmentEntry>) -> Result<(), InspectError> {
        let (bucket, tp) = (self.bucket, self.tp);
        let mut checks = futures::stream::iter(segments.drain(..))
            .map(|entry| async move { (entry, check_segment(bucket, tp, &entry).await) })
            .buffered(self.concurrency);
        while let Some((entry, check)) = checks.next().await {
            let check = check?;
            let missing = check.problems.iter().any(|problem| problem.kind == ProblemKind::Missing);
            if !missing {
                self.reference(entry.bytes);
            }
            self.found.batches += check.batches;
            self.found.records += check.records;
            self.report.checked.batches += check.batches;
            self.report.checked.records += check.records;
            if check.problems.is_empty() {
                self.found.segments += 1;
                self.report.checked.segments += 1;
                self.checked(check.bytes);
            }
            for problem in check.problems {
                self.problem(problem);
            }
        }
        Ok(())
    }

    fn checked(&mut self, bytes: u64) {
        for sum in [&mut self.found, &mut self.report.checked] {
            sum.objects += 1;
            sum.bytes += bytes;
        }
        (self.progress)(&self.report.checked);
    }

    fn reference(&mut self, bytes: u64) {
        self.referenced.0 += 1;
        self.referenced.1 += bytes;
    }

    fn gap(&mut self, from: Offset, to: Offset) {
        let what = "no segment covers a range of offsets";
        self.problem(Problem::new(ProblemKind::Gap, what).offsets(from.0, to.0 - 1));
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += self.report.add([problem.of(self.tp)]);
    }
}

fn sums(entries: &[Entry]) -> (u64, u64, u64) {
    entries.iter().fold((0, 0, 0), |(bytes, segments, records): (u64, u64, u64), entry| {
        (
            bytes.saturating_add(entry.bytes),
            segments.saturating_add(entry.segments.into()),
            records.saturating_add(entry.records),
        )
    })
}
