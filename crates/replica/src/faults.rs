//! Deliberate bugs, for the test of the tests: each breaks one rule, and a simulator that does not
//! notice is worth nothing. None is on by default, and no configuration of a server reaches them; one that
//! is built with the feature `failpoints` can be told one of them in its environment.

/// Which rules to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, one a rule")]
pub struct Faults {
    /// What is written counts as durable before it is synced.
    pub skip_fsync: bool,
    /// Messages of an older epoch are taken.
    pub skip_epoch_check: bool,
    /// The high watermark follows the leader's own disk alone.
    pub hw_from_leader_only: bool,
    /// A leader that was started again goes on under its old epoch.
    pub resume_epoch_after_restart: bool,
    /// An ISR entry is matched by node, whatever disk the node has now.
    pub keep_isr_member_with_new_disk: bool,
    /// The ISR may shrink to the leader alone.
    pub shrink_below_floor: bool,
    /// A follower cuts at its high watermark instead of where the histories part.
    pub truncate_to_hw_instead_of_epoch: bool,
    /// An ISR change of unknown outcome counts as failed.
    pub isr_unknown_as_failed: bool,
    /// A replica joins the ISR wherever its log ends.
    pub join_below_high_watermark: bool,
    /// A replica follows before it has read the metadata in this life.
    pub follow_before_metadata: bool,
    /// A new leader acknowledges while its predecessor may still answer "latest".
    pub skip_promotion_wait: bool,
    /// "Latest" is answered without the ISR's confirmation.
    pub answer_unconfirmed: bool,
    /// A completion from before a cut counts for what was written after it.
    pub skip_generation_check: bool,
}
