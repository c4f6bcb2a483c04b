//! Worlds with a deliberate bug: the same checks must notice each of them, or they check nothing.

use tidelog_replica::{Config, Faults};

use super::{Choices, World};

/// A small generator (`SplitMix64`), seeded by number: the same seed is the same world.
struct Seeded(u64);

impl Choices for Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

fn first_violation(faults: Faults, seeds: u64) -> Option<(u64, String)> {
    let config = Config { faults, ..Config::default() };
    (0..seeds).find_map(|seed| {
        let mut choices = Seeded(seed);
        let mut world = World::new(config);
        for _ in 0..700 {
            world.step(&mut choices);
            if world.violation.is_some() {
                break;
            }
        }
        if world.violation.is_none() {
            world.heal();
        }
        world.violation.take().map(|what| (seed, format!("{what}\n{}", world.tail())))
    })
}

fn is_noticed(faults: Faults) {
    assert!(first_violation(faults, 3_000).is_some(), "{faults:?} goes unnoticed");
}

#[test]
fn a_sound_machine_passes_where_bugs_are_noticed() {
    assert_eq!(first_violation(Faults::default(), 300), None);
}

macro_rules! noticed {
    ($($test:ident: $fault:ident;)+) => {
        $(#[test]
        fn $test() {
            is_noticed(Faults { $fault: true, ..Faults::default() });
        })+
    };
}

noticed! {
    skipping_the_sync_is_noticed: skip_fsync;
    skipping_the_epoch_check_is_noticed: skip_epoch_check;
    a_high_watermark_from_the_leader_alone_is_noticed: hw_from_leader_only;
    resuming_an_epoch_is_noticed: resume_epoch_after_restart;
    keeping_a_member_whose_disk_is_new_is_noticed: keep_isr_member_with_new_disk;
    shrinking_below_the_floor_is_noticed: shrink_below_floor;
    cutting_at_the_high_watermark_is_noticed: truncate_to_hw_instead_of_epoch;
    taking_unknown_for_failed_is_noticed: isr_unknown_as_failed;
    joining_below_the_high_watermark_is_noticed: join_below_high_watermark;
    skipping_the_promotion_wait_is_noticed: skip_promotion_wait;
    answering_unconfirmed_is_noticed: answer_unconfirmed;
}
