//! The test of the simulator: deliberate bugs of the state machine break a promise within the seeds that
//! every change must pass.

use tidelog_replica::Faults;
use tidelog_sim::{BUGS, Invariant, STEPS, Setup, run};

/// No bug may hide for longer.
const SEEDS: u64 = 4_000;

fn caught(name: &str) -> (u64, Invariant) {
    let bug = BUGS.iter().find(|(known, _)| *known == name);
    let (_, switch) = bug.expect("every bug has its switch");
    let faults = switch(Faults::default());
    let broken = (0..SEEDS).find_map(|seed| {
        let violation = run(&Setup::of_seed(seed, STEPS, faults), false).violation?;
        Some((seed, violation.invariant))
    });
    broken.unwrap_or_else(|| panic!("{name} broke no promise in {SEEDS} seeds"))
}

macro_rules! is_caught {
    ($($claim:ident: $bug:ident;)*) => {$(
        #[test]
        fn $claim() {
            caught(stringify!($bug));
        }
    )*};
}

is_caught! {
    skipping_the_fsync_is_caught: skip_fsync;
    skipping_the_epoch_check_is_caught: skip_epoch_check;
    a_high_watermark_from_the_leader_only_is_caught: hw_from_leader_only;
    resuming_an_epoch_after_a_restart_is_caught: resume_epoch_after_restart;
    keeping_an_isr_member_whose_disk_is_new_is_caught: keep_isr_member_with_new_disk;
    shrinking_below_the_floor_is_caught: shrink_below_floor;
    truncating_to_the_high_watermark_is_caught: truncate_to_hw_instead_of_epoch;
    taking_an_unknown_isr_change_for_failed_is_caught: isr_unknown_as_failed;
    joining_below_the_high_watermark_is_caught: join_below_high_watermark;
    following_before_the_metadata_is_caught: follow_before_metadata;
    skipping_the_promotion_wait_is_caught: skip_promotion_wait;
    answering_latest_unconfirmed_is_caught: answer_unconfirmed;
    counting_completions_from_before_a_cut_is_caught: skip_generation_check;
}
