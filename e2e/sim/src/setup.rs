//! What a seed stands for: the size of the world, its weather, its clocks, its knobs and its faults.

use std::time::Duration;

use tidelog_model::NodeId;
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
    /// How long the controller waits for reports before it elects.
    pub collect: Micros,
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
    pub floor: usize,
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
            collect: rng.between(10, 300) * MS,
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
        self.weather = Weather::CALM;
        self.tier_pause_max = None;
        self.collect = rng.between(5, 30) * MS;
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
    let floor = if count >= 3 && rng.chance(900) { 2 } else { 1 };
    PartitionSetup { replicas, floor }
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
