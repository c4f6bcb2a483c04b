//! What must never be, and was seen. A person has to look.

use thiserror::Error;
use tidelog_model::{LeaderEpoch, Offset};

use crate::identity::{Instance, ReplicaId};
use crate::span::Span;

/// A broken promise: of a disk, of the metadata store, or of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Alarm {
    #[error("other bytes were offered at {span:?}, which is held already")]
    OtherBytes { span: Span },
    #[error("{replica:?} holds records up to {log_end} of an epoch whose leader ends at {leader_end}")]
    FollowerAhead { replica: ReplicaId, log_end: Offset, leader_end: Offset },
    #[error("{replica:?} acknowledged records up to {acknowledged} and now holds up to {held}")]
    AcknowledgedLost { replica: ReplicaId, acknowledged: Offset, held: Offset },
    #[error("epoch {epoch} has two leaders: {one:?} and {other:?}")]
    TwoLeaders { epoch: LeaderEpoch, one: Instance, other: Instance },
    #[error("following epoch {epoch} would cut committed records: to {cut}, below {high_watermark}")]
    CutBelowHighWatermark { epoch: LeaderEpoch, cut: Offset, high_watermark: Offset },
    #[error("epoch {epoch} begins at {here} here and at {there} at the leader")]
    HistoriesDisagree { epoch: LeaderEpoch, here: Offset, there: Offset },
    #[error("{span:?} was pushed to follow epoch {there:?}, and follows {here:?} here")]
    PrefixDiffers { span: Span, here: Option<LeaderEpoch>, there: Option<LeaderEpoch> },
    #[error("the metadata store says epoch {found}, epoch {known} is known: was it restored?")]
    EpochWentBack { known: LeaderEpoch, found: LeaderEpoch },
    #[error("epoch {epoch} names this replica as leader, and it is not in sync")]
    LeaderNotInSync { epoch: LeaderEpoch },
    #[error("the log ends at {log_end}, below the bucket's {tiered_end}")]
    BehindTheBucket { log_end: Offset, tiered_end: Offset },
}
