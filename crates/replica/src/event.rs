//! What happens to a replica.

use tidelog_model::{NodeId, Offset};

use crate::history::EpochStart;
use crate::message::{Ack, Attempt, Lead, Pushed, Refusal};
use crate::record::Observed;
use crate::span::{Generation, Marks, Span};

/// One thing that happened. The time of it comes beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The partition's record was seen. Before the first one of [`Origin::Read`](crate::Origin::Read)
    /// the replica takes part in nothing.
    Observed(Observed),
    /// What became of an [`Action::ProposeIsr`](crate::Action::ProposeIsr).
    IsrChange {
        ticket: Ticket,
        outcome: IsrOutcome,
    },
    /// The answer to [`Action::ReadTiered`](crate::Action::ReadTiered): a linearizable read of the
    /// partition's pointer, and the epoch history of the state object that it leads to.
    Tiered {
        end: Offset,
        history: Vec<EpochStart>,
    },

    /// The journal has synced everything of this generation up to here.
    LocalDurable {
        generation: Generation,
        up_to: Offset,
    },
    /// The [`Action::Truncate`](crate::Action::Truncate) or [`Action::Reset`](crate::Action::Reset)
    /// that began this generation is synced.
    CutDurable {
        generation: Generation,
    },
    /// Something that was placed or taken cannot be written. The replica stops.
    LocalLost,
    /// The store moved its marks: retention, offload, eviction.
    Marks(Marks),

    /// A follower's process can be reached (again).
    FollowerHere {
        node: NodeId,
    },
    /// A follower's process is dead or cannot be reached: its connection is closed and was not opened
    /// again in time, or its lease is gone. Also the answer to a message that cannot be sent at all.
    FollowerGone {
        node: NodeId,
    },
    /// Batches from `from` on were not sent: the way to the follower is full, or one turn was enough.
    NotSent {
        to: NodeId,
        attempt: Attempt,
        from: Offset,
    },
    /// There is room again on the way to the follower.
    SendReady {
        to: NodeId,
    },

    /// Messages of other replicas. Journal room for a pushed batch is reserved before it comes here.
    Lead(Lead),
    Pushed(Pushed),
    Ack(Ack),
    Refusal(Refusal),
    /// The answer to [`Action::Compare`](crate::Action::Compare) when what is held is not that batch.
    OtherBytes {
        span: Span,
    },

    /// The store's lease may have run out, by the monotonic clock.
    Fenced,
    /// Give leadership up in good order.
    Resign,
    /// Time passed. To come at least every tenth of a second while the replica leads.
    Tick,
}

/// Numbers the ISR changes that one replica asked for in this life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// What became of an ISR change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsrOutcome {
    /// The record now has the proposed ISR, at this revision.
    Committed { revision: u64 },
    /// The record had changed.
    Conflict,
    /// No answer came. The change may still be made, even after a read that does not show it.
    Unknown,
}
