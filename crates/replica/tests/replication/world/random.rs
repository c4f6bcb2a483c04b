//! Random worlds that are sound.

use proptest::prelude::*;
use tidelog_replica::Config;

use super::{Choices, World};

/// Choices that proptest made, and can make simpler.
struct Given<'a> {
    left: std::slice::Iter<'a, u32>,
}

impl Choices for Given<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.left.next().map_or(0, |choice| *choice as usize % bound.max(1))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Nothing committed is lost or changed, no name is given twice, "latest" is the latest, no alarm
    /// is raised, and when the faults end everyone catches up.
    #[test]
    fn three_replicas_keep_every_promise(choices in prop::collection::vec(0_u32..1_000_000, 100..2_400)) {
        let mut world = World::new(Config::default());
        let mut given = Given { left: choices.iter() };
        while !given.left.as_slice().is_empty() && world.violation.is_none() {
            world.step(&mut given);
        }
        if world.violation.is_none() {
            world.heal();
        }
        prop_assert!(world.violation.is_none(), "{}\n{}", world.violation.clone().unwrap_or_default(), world.tail());
    }
}
