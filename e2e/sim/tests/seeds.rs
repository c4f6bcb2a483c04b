//! The seeds that every change must pass. `make sim SEEDS=…` runs others.

use tidelog_replica::Faults;
use tidelog_sim::{STEPS, Setup, run, shrink};

/// As many as fit into half a minute of one core.
const SEEDS: u64 = 4_000;

/// Split over two tests, so that two cores share them.
fn all_hold(seeds: impl Iterator<Item = u64>) {
    let (mut acknowledged, mut elections) = (0, 0);
    for seed in seeds {
        let setup = Setup::of_seed(seed, STEPS, Faults::default());
        let outcome = run(&setup, false);
        if let Some(violation) = outcome.violation {
            let smallest = shrink(&setup, &violation);
            panic!("seed {seed}: {violation}; these faults are enough: {:#?}", smallest.plan);
        }
        acknowledged += outcome.acknowledged;
        elections += outcome.elections;
    }
    // A world in which nothing happens breaks no promise, and proves nothing.
    assert!(
        acknowledged > 50 * SEEDS / 2 && elections > SEEDS,
        "{acknowledged} batches, {elections} elections"
    );
}

#[test]
fn even_seeds_keep_every_promise() {
    all_hold((0..SEEDS).step_by(2));
}

#[test]
fn odd_seeds_keep_every_promise() {
    all_hold((1..SEEDS).step_by(2));
}

#[test]
fn a_seed_repeats_its_run_step_by_step() {
    let setup = Setup::of_seed(7, 1_500, Faults::default());
    assert_eq!(run(&setup, true).trace, run(&setup, true).trace);
}
