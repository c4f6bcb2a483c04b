//! Leaves out of a run what its violation does not need.

use crate::checks::{Invariant, Violation};
use crate::net::Weather;
use crate::plan::Fault;
use crate::run::run;
use crate::setup::Setup;

/// How many runs shrinking may take.
const RUNS_MAX: u32 = 400;

/// The same violation of the same invariant with as few faults as can be found, in calm weather and with
/// even clocks if that is enough.
pub fn shrink(setup: &Setup, violation: &Violation) -> Setup {
    let mut shrinker = Shrinker { invariant: violation.invariant, runs: 0 };
    let mut best = setup.clone();
    if violation.at > 0 {
        let mut shorter = best.clone();
        shorter.plan.retain(|fault| fault.at <= violation.at);
        shrinker.keep(&mut best, shorter);
    }
    shrinker.drop_faults(&mut best);
    for simplify in SIMPLIFICATIONS {
        let mut simpler = best.clone();
        simplify(&mut simpler);
        shrinker.keep(&mut best, simpler);
    }
    shrinker.drop_faults(&mut best);
    best
}

const SIMPLIFICATIONS: [fn(&mut Setup); 6] = [
    |setup| setup.weather = Weather::CALM,
    |setup| setup.drift_ppm.iter_mut().for_each(|drift| *drift = 0),
    |setup| setup.tier_pause_max = None,
    |setup| setup.partitions.truncate(1),
    |setup| setup.producers = 1,
    |setup| (setup.consumers, setup.probers) = (1, 1),
];

struct Shrinker {
    invariant: Invariant,
    runs: u32,
}

impl Shrinker {
    fn keep(&mut self, best: &mut Setup, candidate: Setup) -> bool {
        // A fault names its partition: one that is left out takes its faults along.
        let partitions = candidate.partitions.len();
        let candidate = Setup { plan: within(&candidate.plan, partitions), ..candidate };
        self.runs += 1;
        let same = run(&candidate, false).violation.is_some_and(|found| found.invariant == self.invariant);
        if same {
            *best = candidate;
        }
        same
    }

    /// Drops half of the faults, then quarters, down to single ones, as long as the violation stays.
    fn drop_faults(&mut self, best: &mut Setup) {
        let mut chunk = best.plan.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < best.plan.len() && self.runs < RUNS_MAX {
                let mut candidate = best.clone();
                candidate.plan.drain(at..(at + chunk).min(best.plan.len()));
                if !self.keep(best, candidate) {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
    }
}

fn within(plan: &[Fault], partitions: usize) -> Vec<Fault> {
    plan.iter()
        .filter(|fault| fault.kind.partition().is_none_or(|named| named < partitions))
        .copied()
        .collect()
}
