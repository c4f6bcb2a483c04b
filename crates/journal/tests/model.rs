//! The journal against a model that fits on a screen: whatever happens in whatever order, what was
//! acknowledged and is wanted is read back, and nothing else.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use support::{Fixture, KIB, batch, config, header, tp};
use tidelog_journal::{AppendError, JournalConfig, ReadError};
use tidelog_model::Offset;

const PARTITIONS: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Append {
        partition: u32,
        records: u32,
        bytes: usize,
    },
    /// Cuts the last batches.
    Truncate {
        partition: u32,
        batches: usize,
    },
    /// Everything but the last batches is in the bucket.
    Cover {
        partition: u32,
        except: usize,
    },
    Evict {
        partition: u32,
        except: usize,
    },
    Trim {
        partition: u32,
        except: usize,
    },
    Roll,
    /// The process dies and starts again.
    Crash,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        12 => (partition.clone(), 1..4_u32, prop_oneof![1..200_usize, 1000..12_000_usize])
            .prop_map(|(partition, records, bytes)| Step::Append { partition, records, bytes }),
        1 => (partition.clone(), 1..4_usize).prop_map(|(partition, batches)| Step::Truncate { partition, batches }),
        4 => (partition.clone(), 0..3_usize).prop_map(|(partition, except)| Step::Cover { partition, except }),
        2 => (partition.clone(), 0..4_usize).prop_map(|(partition, except)| Step::Evict { partition, except }),
        1 => (partition, 0..4_usize).prop_map(|(partition, except)| Step::Trim { partition, except }),
        1 => Just(Step::Roll),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ]
}

#[derive(Default)]
struct Partition {
    batches: Vec<Bytes>,
    end: u64,
    covered: u64,
    log_start: u64,
}

impl Partition {
    /// Where all but the last `except` batches end.
    fn mark(&self, except: usize) -> u64 {
        let at = self.batches.len().saturating_sub(except);
        self.batches.get(at).map_or(self.end, |batch| header(batch).base_offset.0)
    }
}

#[derive(Default)]
struct Model {
    partitions: BTreeMap<u32, Partition>,
    seed: u64,
}

fn small(dir: &std::path::Path) -> JournalConfig {
    JournalConfig {
        file_bytes: 64 * KIB as u64,
        budget_bytes: 384 * KIB as u64,
        tail_cache_bytes: 24 * KIB,
        index_cache_bytes: 4 * KIB,
        ..config(dir)
    }
}

impl Model {
    async fn apply(&mut self, fixture: &Fixture, step: &Step) {
        match *step {
            Step::Append { partition, records, bytes } => {
                self.seed += 1;
                let expected = self.partitions.entry(partition).or_default();
                let batch = batch(expected.end, records, bytes, self.seed);
                match fixture.put_batch(tp(partition), &batch).await {
                    Ok(_) => {
                        expected.end += u64::from(records);
                        expected.batches.push(batch);
                    }
                    Err(AppendError::Backlog) => self.make_room(fixture),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Truncate { partition, batches } => {
                let Some(expected) = self.partitions.get_mut(&partition) else { return };
                let end = expected.mark(batches).max(expected.covered).max(expected.log_start);
                match fixture.truncate(tp(partition), Offset(end)).await {
                    Ok(_) => {
                        expected.batches.retain(|batch| header(batch).next_offset().0 <= end);
                        expected.end = end;
                    }
                    Err(AppendError::Backlog) => self.make_room(fixture),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Cover { partition, except } => {
                let Some(expected) = self.partitions.get_mut(&partition) else { return };
                expected.covered = expected.covered.max(expected.mark(except));
                fixture.journal.set_covered(tp(partition), Offset(expected.covered));
            }
            Step::Evict { partition, except } => {
                let Some(expected) = self.partitions.get_mut(&partition) else { return };
                fixture.journal.evict(tp(partition), Offset(expected.mark(except)));
            }
            Step::Trim { partition, except } => {
                let Some(expected) = self.partitions.get_mut(&partition) else { return };
                let log_start = expected.log_start.max(expected.mark(except));
                match fixture.trim(tp(partition), Offset(log_start)).await {
                    Ok(_) => expected.log_start = log_start,
                    Err(AppendError::Backlog) => self.make_room(fixture),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Roll => fixture.journal.roll().await.unwrap(),
            Step::Crash | Step::Close => unreachable!("the caller's"),
        }
    }

    /// What the bucket would do about a backlog.
    fn make_room(&mut self, fixture: &Fixture) {
        for (number, partition) in &mut self.partitions {
            partition.covered = partition.end;
            fixture.journal.set_covered(tp(*number), Offset(partition.end));
        }
    }

    /// After a start the owner of the state says again what is in the bucket.
    async fn check_opened(&self, fixture: &Fixture) {
        for (number, partition) in &self.partitions {
            fixture.journal.set_covered(tp(*number), Offset(partition.covered));
        }
        self.check(fixture).await;
    }

    async fn check(&self, fixture: &Fixture) {
        for (number, expected) in &self.partitions {
            let partition = tp(*number);
            assert_eq!(fixture.owner.end(partition), Offset(expected.end), "end of {partition}");
            let Some((local, read)) = fixture.read_local(partition).await else {
                let uncovered = expected.end > expected.covered.max(expected.log_start);
                assert!(!uncovered, "{partition} lost {}..{}", expected.covered, expected.end);
                continue;
            };
            assert_eq!(local.end, Offset(expected.end), "{partition}");
            let wanted_from = expected.covered.max(expected.log_start).min(expected.end);
            assert!(local.start.0 <= wanted_from, "{partition} begins at {local:?}, wanted {wanted_from}");
            assert!(local.start.0 >= expected.log_start, "{partition} {local:?} {}", expected.log_start);
            let first = expected.batches.iter().position(|batch| header(batch).next_offset() > local.start);
            let first = first.unwrap_or(expected.batches.len());
            assert!(read == expected.batches[first..], "{partition}: {} batches read", read.len());
            if local.start > Offset(0) {
                let below = Offset(local.start.0 - 1);
                let error = fixture.journal.read(partition, below, Offset::MAX, 1).await.unwrap_err();
                assert!(matches!(error, ReadError::NotLocal { .. }));
            }
        }
        // Files that move while they are counted may count twice.
        let within = || fixture.journal.stats().disk_bytes <= fixture.config.budget_bytes;
        support::until("the budget holds", within).await;
        self.check_scan(fixture).await;
    }

    async fn check_scan(&self, fixture: &Fixture) {
        let wanted: Vec<_> = self
            .partitions
            .keys()
            .filter_map(|number| fixture.journal.local(tp(*number)).map(|local| (tp(*number), local)))
            .map(|(partition, local)| (partition, local.start..local.end))
            .collect();
        let mut next: BTreeMap<_, _> = wanted.iter().cloned().collect();
        let mut scan = fixture.journal.scan(wanted);
        while let Some(item) = scan.next().await {
            // The keeper may take a file away while the scan looks.
            let Ok((partition, batch)) = item else { continue };
            let range = next.get_mut(&partition).unwrap();
            let header = header(&batch);
            let follows = header.base_offset <= range.start && range.start < header.next_offset();
            assert!(follows, "{partition}: {:?} where {range:?} was to come", header.base_offset);
            range.start = header.next_offset();
        }
    }
}

async fn run(steps: Vec<Step>) {
    let mut dir = support::scratch();
    let mut model = Model::default();
    let mut fixture = Fixture::with(small(dir.path())).unwrap();
    for step in steps {
        match step {
            Step::Crash | Step::Close => {
                if matches!(step, Step::Close) {
                    fixture.journal.close().await.unwrap();
                }
                let crashed = fixture.crash();
                drop(fixture);
                dir = crashed;
                fixture = Fixture::with(small(dir.path())).unwrap();
                model.check_opened(&fixture).await;
            }
            step => model.apply(&fixture, &step).await,
        }
    }
    model.check(&fixture).await;
    fixture.journal.close().await.unwrap();
    drop(fixture);
    let fixture = Fixture::with(small(dir.path())).unwrap();
    model.check_opened(&fixture).await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_acknowledged_and_is_wanted_is_read_back(steps in prop::collection::vec(step(), 1..120)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
