//! What a seed stands for: the size of the world, its weather, its clocks, its knobs and its faults.

use std::time::Duration;

use tidelog_controller::Options;
use tidelog_meta::Topic;
use tidelog_model::{NodeId, TimestampMs, TopicConfig};
use tidelog_replica::{Config, Faults};

use crate::agenda::{MS, Micros};
use crate::net::Weather;
use crate::plan::{self, Fault};
use crate::rng::Rng;

/// How many steps the hostile part of a run has, unless told otherwise.
pub const STEPS: u64 = 5_000;

#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    /// Steps of the hostile part; what follows heals.
    pub steps: u64,
    pub nodes: usize,
    pub partitions: Vec<PartitionSetup>,
    pub weather: Weather,
    pub lease_ttl: Micros,
    pub controller: Options,
    /// Stores, in a thousand, that do not answer what a controller asks before it decides.
    pub deaf: u64,
    /// How long a process waits for an answer of the metadata store.
    pub patience: Micros,
    /// Longest sync of a healthy disk.
    pub sync_max: Micros,
    /// Completions of the journal, in a thousand, that reach the replica late, and by how much.
    pub late_completions: u64,
    pub completion_delay_max: Micros,
    /// Each node's clock against true time, in parts per million.
    pub drift_ppm: Vec<i64>,
    pub config: Config,
    pub producers: usize,
    pub consumers: usize,
    pub probers: usize,
    /// Longest pause of a client between two calls.
    pub client_pause_max: Micros,
    /// Longest pause between two looks at what to move to the bucket; `None` moves nothing.
    pub tier_pause_max: Option<Micros>,
    pub plan: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub struct PartitionSetup {
    pub replicas: Vec<NodeId>,
    /// Whether one replica is enough to acknowledge, however many there are.
    pub one_is_enough: bool,
}

impl PartitionSetup {
    /// The topic whose only partition it is.
    pub(crate) fn topic(&self, number: usize) -> Topic {
        let name = format!("topic-{number}").parse().expect("a letter, a number and a dash are a name");
        let topic = Topic::new(name, 1, &TopicConfig::default(), TimestampMs(0));
        let one = ("min.insync.replicas".to_owned(), "1".to_owned());
        let config = self.one_is_enough.then_some(one).into_iter().collect();
        Topic { replication_factor: self.replicas.len() as u32, config, ..topic }
    }
}

/// Clocks' rates differ by at most twice this. The protocol allows a tenth.
const DRIFT_PPM_MAX: u64 = 45_000;

impl Setup {
    pub fn of_seed(seed: u64, steps: u64, faults: Faults) -> Self {
        let mut rng = Rng::new(seed);
        let nodes = rng.between(3, 5) as usize;
        let partitions: Vec<PartitionSetup> =
            (0..rng.between(1, 2)).map(|_| partition(&mut rng, nodes)).collect();
        let drift_max = if rng.chance(500) { DRIFT_PPM_MAX } else { 100 };
        let drift_ppm = (0..nodes).map(|_| rng.between(0, 2 * drift_max) as i64 - drift_max as i64).collect();
        let weather = if rng.chance(400) { Weather::CALM } else { plan::storm(&mut rng) };
        let mut setup = Self {
            seed,
            steps,
            nodes,
            weather,
            lease_ttl: rng.between(800, 3_000) * MS,
            controller: controller(&mut rng),
            deaf: if rng.chance(500) { rng.below(500) } else { 0 },
            patience: rng.between(80, 900) * MS,
            sync_max: if rng.chance(500) { 2 * MS } else { rng.between(2, 60) * MS },
            late_completions: if rng.chance(600) { rng.between(20, 600) } else { 0 },
            completion_delay_max: rng.between(1, 150) * MS,
            drift_ppm,
            config: config(&mut rng, faults),
            producers: rng.between(1, 4) as usize,
            consumers: rng.between(1, 3) as usize,
            probers: rng.between(1, 2) as usize,
            client_pause_max: rng.between(2, 60) * MS,
            tier_pause_max: rng.chance(700).then(|| rng.between(50, 800) * MS),
            plan: plan::draw(&mut rng, nodes, partitions.len()),
            partitions,
        };
        if rng.chance(80) {
            setup.churn(&mut rng);
        }
        setup
    }

    /// A world in fine weather whose leaders change all the time and whose disks take theirs.
    fn churn(&mut self, rng: &mut Rng) {
        self.plan = plan::churn(rng, self.partitions.len());
        // Some are far away: leaders are ahead of their successors, and have to be cut.
        self.weather = Weather { delay_max: rng.between(2, 40) * MS, ..Weather::CALM };
        self.tier_pause_max = None;
        // Short leases, and so short waits after promotions: what was cut is written anew while the syncs
        // from before are still being reported.
        self.config.read_lease = Duration::from_millis(rng.between(10, 60));
        self.config.promotion_wait = self.config.read_lease * 6 / 5;
        self.controller.report_wait = Duration::from_millis(rng.between(5, 30));
        self.controller.hand_over_wait = Duration::from_millis(rng.between(1, 30));
        self.controller.prefer_every = Duration::from_millis(rng.between(1, 100));
        self.sync_max = rng.between(5, 60) * MS;
        self.completion_delay_max = rng.between(20, 200) * MS;
        self.client_pause_max = rng.between(2, 10) * MS;
        self.producers = 4;
    }
}

fn partition(rng: &mut Rng, nodes: usize) -> PartitionSetup {
    let first = rng.index(nodes);
    let count = if rng.chance(150) { rng.between(1, 2) } else { 3 } as usize;
    let replicas = (0..count).map(|at| NodeId(((first + at) % nodes) as u32)).collect();
    PartitionSetup { replicas, one_is_enough: rng.chance(100) }
}

/// A controller in more of a hurry than a real one: what takes it minutes happens in seconds.
fn controller(rng: &mut Rng) -> Options {
    let some = |rng: &mut Rng, low, high| Duration::from_millis(rng.between(low, high));
    let probation = some(rng, 50, 2_000);
    Options {
        heartbeat: some(rng, 50, 200),
        misses: rng.between(2, 5) as u32,
        report_wait: some(rng, 10, 300),
        hand_over_wait: some(rng, 5, 500),
        probation,
        probation_max: probation * 4,
        prefer_every: some(rng, 20, 5_000),
        balance: rng.chance(500),
        balance_every: some(rng, 100, 5_000),
        ..Options::default()
    }
}

/// The real defaults, or knobs so small that every bound is met.
fn config(rng: &mut Rng, faults: Faults) -> Config {
    let mut config = Config { faults, ..Config::default() };
    if rng.chance(500) {
        config.lag_max = Duration::from_millis(rng.between(50, 1_000));
        config.own_lag_max = config.lag_max * 2;
        config.rejoin_after = Duration::from_millis(rng.between(20, 1_000));
        config.resend_after = Duration::from_millis(rng.between(20, 400));
        config.lead_retry = Duration::from_millis(rng.between(10, 100));
        config.lead_retry_max = config.lead_retry * 8;
        config.metadata_retry = Duration::from_millis(rng.between(100, 500));
    }
    if rng.chance(400) {
        config.window_records = rng.between(3, 40);
        config.uncommitted_records_max = rng.between(5, 100);
        config.copy_records_max = rng.between(0, 50);
    }
    config
}
