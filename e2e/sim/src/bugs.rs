//! The deliberate bugs of the state machine, by name: the test of the simulator is that it catches each.

use tidelog_replica::Faults;

/// A bug's name, and how to switch it on.
pub type Bug = (&'static str, fn(Faults) -> Faults);

macro_rules! bugs {
    ($($name:ident),* $(,)?) => {
        /// Every bug that the machine has a switch for.
        pub const BUGS: &[Bug] = &[$((stringify!($name), |faults| Faults { $name: true, ..faults })),*];
    };
}

bugs! {
    skip_fsync,
    skip_epoch_check,
    hw_from_leader_only,
    resume_epoch_after_restart,
    keep_isr_member_with_new_disk,
    shrink_below_floor,
    truncate_to_hw_instead_of_epoch,
    isr_unknown_as_failed,
    join_below_high_watermark,
    follow_before_metadata,
    skip_promotion_wait,
    answer_unconfirmed,
    skip_generation_check,
}
