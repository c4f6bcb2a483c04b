//! Prints how long clients wait when something of a cluster dies, stands still or is restarted.
//!
//! ```text
//! TIDELOG_BINARY=target/release/tidelog cargo run --release -p tidelog-e2e --example failover -- [--quick]
//! ```
//!
//! A stall is the time between two acknowledgements of one partition, as a client of the SDK sees it that
//! sends a record, waits for it, and sends the next: retries and back-off included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tidelog::{Client, PartitionId, ProducerOptions, ProducerRecord, TopicSpec};
use tidelog_e2e::{Cluster, ClusterOptions, Member, Workspace, until};
use tidelog_meta::{Partition, TypedMeta as _, keys};
use tokio::runtime::Runtime;

const SOON: Duration = Duration::from_mins(5);
const TOPIC: &str = "probed";
const PARTITIONS: u32 = 6;

/// Partitions of the topic with many of them; each of three stores leads a third.
const MANY: u32 = 6_000;

/// What a partition's client has seen since the last [`Bench::reset`].
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The last acknowledgement.
    last: Instant,
    longest: Duration,
    /// Acknowledgements of records that were sent since.
    fresh: u32,
    since: Instant,
}

struct Bench {
    client: Client,
    meta: Arc<tidelog_meta::Etcd>,
    runtime: Runtime,
    probes: Arc<Mutex<Vec<Probe>>>,
    cluster: Cluster,
    _workspace: Workspace,
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let rounds = if quick { 3 } else { 20 };
    let mut bench = Bench::start(&["min.insync.replicas=2"]);
    let mut rows = Vec::new();
    let (mut led, mut followed, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (mine, others) = bench.lose(Member::Store(round % 3), Loss::Kill);
        led.push(mine);
        followed.push(others);
    }
    for round in 0..rounds.div_ceil(2) {
        stopped.push(bench.lose(Member::Store(round % 3), Loss::Stop).0);
    }
    rows.push(row("kill -9 of a leader: until its partitions take writes", &led));
    rows.push(row("SIGSTOP of a leader (lease of 2 s)", &stopped));
    rows.push(row("kill -9 of a follower: longest stall of the others' partitions", &followed));
    rows.push(row("rolling restart of 3 stores and 2 frontends: longest stall", &[bench.roll()]));
    drop(bench);
    for row in rows {
        println!("{row}");
    }
    let took = fail_over_many(if quick { 600 } else { MANY });
    println!("{}", row("kill -9 of a store that leads a third of them: until all are writable", &[took]));
}

fn row(what: &str, figures: &[Duration]) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort();
    let at = |index: usize| sorted.get(index).map_or(0, Duration::as_millis);
    let (median, worst) = (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)));
    format!("| {what:<66} | n {:>2} | median {median:>6} ms | max {worst:>6} ms |", sorted.len())
}

#[derive(Clone, Copy)]
enum Loss {
    Kill,
    Stop,
}

impl Bench {
    /// A cluster, a topic, and one client a partition that writes all the time.
    fn start(config: &[&str]) -> Self {
        let workspace = Workspace::new();
        let cluster = Cluster::start(&workspace, ClusterOptions::default());
        let runtime = Runtime::new().expect("a runtime");
        cluster.cli().create_topic(TOPIC, PARTITIONS, config);
        let client = runtime.block_on(Client::connect(&cluster.url())).expect("a connection");
        let meta = runtime.block_on(cluster.meta());
        let now = Instant::now();
        let probe = Probe { last: now, longest: Duration::ZERO, fresh: 0, since: now };
        let probes = Arc::new(Mutex::new(vec![probe; PARTITIONS as usize]));
        let bench = Self { runtime, client, meta, probes, cluster, _workspace: workspace };
        let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
        let producer = bench.runtime.block_on(bench.client.producer(options)).expect("a producer");
        let producer = Arc::new(producer);
        for partition in 0..PARTITIONS {
            let (producer, probes) = (Arc::clone(&producer), Arc::clone(&bench.probes));
            bench.runtime.spawn(async move {
                loop {
                    let sent = Instant::now();
                    let record = ProducerRecord::new(TOPIC, "probe").partition(PartitionId(partition));
                    let Ok(ticket) = producer.send(record).await else { continue };
                    if ticket.await.is_ok() {
                        let mut probes = probes.lock();
                        let probe = &mut probes[partition as usize];
                        let now = Instant::now();
                        probe.longest = probe.longest.max(now - probe.last);
                        probe.last = now;
                        probe.fresh += u32::from(sent >= probe.since);
                    }
                }
            });
        }
        bench.until_in_sync();
        bench.reset();
        bench.until_all_fresh();
        bench
    }

    fn reset(&self) {
        let now = Instant::now();
        for probe in self.probes.lock().iter_mut() {
            *probe = Probe { last: now, longest: Duration::ZERO, fresh: 0, since: now };
        }
    }

    fn until_all_fresh(&self) {
        let is_fresh = || self.probes.lock().iter().all(|probe| probe.fresh >= 2).then_some(());
        until(SOON, "every partition takes writes", is_fresh);
    }

    fn partitions(&self) -> Vec<Partition> {
        partitions(&self.runtime, &self.meta)
    }

    fn until_in_sync(&self) {
        let well = |partition: &Partition| partition.leader.is_some() && partition.isr.len() == 3;
        until(SOON, "every replica is in sync", || self.partitions().iter().all(well).then_some(()));
    }

    /// Loses a store that leads something, and gets it back: the longest stall of what it led, and of the
    /// rest.
    fn lose(&mut self, victim: Member, loss: Loss) -> (Duration, Duration) {
        let node = node_of(victim);
        let is_led = |partition: &Partition| partition.leader.is_some_and(|leader| leader.node.0 == node);
        until(SOON, "it leads something", || {
            let leads = self.partitions().iter().any(is_led);
            if !leads {
                let _ = self.runtime.block_on(self.client.admin().rebalance());
            }
            leads.then_some(())
        });
        let led: Vec<bool> = self.partitions().iter().map(is_led).collect();
        self.reset();
        match loss {
            Loss::Kill => self.cluster.kill(victim),
            Loss::Stop => self.cluster.pause(victim),
        }
        self.until_all_fresh();
        let longest = |mine: bool| {
            let probes = self.probes.lock();
            let stalls =
                probes.iter().zip(&led).filter(|(_, led)| **led == mine).map(|(probe, _)| probe.longest);
            stalls.max().unwrap_or_default()
        };
        let figures = (longest(true), longest(false));
        match loss {
            Loss::Kill => self.cluster.restart(victim),
            Loss::Stop => self.cluster.resume(victim),
        }
        self.until_in_sync();
        figures
    }

    fn roll(&mut self) -> Duration {
        self.reset();
        for member in self.cluster.members() {
            assert!(self.cluster.terminate(member).success(), "{}", self.cluster.process(member).log());
            self.cluster.restart(member);
            self.until_in_sync();
        }
        self.until_all_fresh();
        self.probes.lock().iter().map(|probe| probe.longest).max().unwrap_or_default()
    }
}

fn partitions(runtime: &Runtime, meta: &Arc<tidelog_meta::Etcd>) -> Vec<Partition> {
    let read = runtime.block_on(meta.read_all(&keys::partitions()));
    read.expect("etcd answers").items.into_iter().map(|stored| stored.value).collect()
}

fn node_of(member: Member) -> u32 {
    let (Member::Store(index) | Member::Frontend(index)) = member;
    index as u32 + 1
}

/// One record to each of very many partitions, again when a store that leads a third of them was killed.
fn fail_over_many(count: u32) -> Duration {
    let workspace = Workspace::new();
    let mut cluster = Cluster::start(&workspace, ClusterOptions::default());
    let runtime = Runtime::new().expect("a runtime");
    let (client, meta) =
        (runtime.block_on(Client::connect(&cluster.url())), runtime.block_on(cluster.meta()));
    let client = client.expect("a connection");
    let spec = TopicSpec::new(TOPIC).partitions(count).replication_factor(3);
    let _ = runtime.block_on(client.admin().create_topic(spec)).expect("a topic");
    let well = |partition: &Partition| partition.leader.is_some() && partition.isr.len() == 3;
    until(SOON, "every replica is in sync", || partitions(&runtime, &meta).iter().all(well).then_some(()));
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = runtime.block_on(client.producer(options)).expect("a producer");
    let write_all = async || {
        let mut tickets = FuturesUnordered::new();
        for partition in 0..count {
            let record = ProducerRecord::new(TOPIC, "probe").partition(PartitionId(partition));
            tickets.push(producer.send(record).await.expect("a record that can be sent"));
        }
        while let Some(delivered) = tickets.next().await {
            let _ = delivered.expect("a partition takes its record");
        }
    };
    runtime.block_on(write_all());
    let begun = Instant::now();
    runtime.block_on(write_all());
    say(&format!(
        "one record to each of {count} partitions, nothing lost: {} ms",
        begun.elapsed().as_millis()
    ));
    let killed = Instant::now();
    cluster.kill(Member::Store(0));
    runtime.block_on(write_all());
    killed.elapsed()
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn say(line: &str) {
    println!("{line}");
}
