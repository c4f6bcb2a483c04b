//! What a replica asks its store to do. Actions are carried out in their order.

use tidelog_model::{LeaderEpoch, NodeId, Offset};

use crate::alarm::Alarm;
use crate::event::Ticket;
use crate::history::EpochStart;
use crate::identity::{Instance, ReplicaId};
use crate::message::{Ack, Attempt, Lead, Pushed, Refusal};
use crate::span::{Generation, Span};

/// The caller's buffer of actions: cleared by the caller, and reused, so that the hot path allocates
/// nothing.
pub type Actions = Vec<Action>;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Journal: an epoch begins here. Comes before the first batch of the epoch.
    WriteEpochStart {
        epoch: LeaderEpoch,
        start: Offset,
        generation: Generation,
    },
    /// Journal: append the bytes that came with the [`Pushed`] of this step, as they are.
    Write {
        span: Span,
        generation: Generation,
    },
    /// Journal: everything at and above `to` is void. Answered by `CutDurable`, once synced.
    Truncate {
        to: Offset,
        generation: Generation,
    },
    /// Journal: everything local is void; the log begins at `to`, with the producer state of the
    /// bucket's state object there and this epoch history. Answered by `CutDurable`, once synced.
    /// Nothing that is not in the bucket may be lost by it but what the leader does not have.
    Reset {
        to: Offset,
        generation: Generation,
        history: Vec<EpochStart>,
    },
    /// Compare this batch with the one held at its base; answered only when they differ
    /// ([`Event::OtherBytes`](crate::Event::OtherBytes)).
    Compare {
        span: Span,
    },

    SendLead {
        to: NodeId,
        lead: Lead,
    },
    /// Send the batches from `from` to `up_to`, in order, each with the header that
    /// [`Replica::pushed`](crate::Replica::pushed) makes. What is not sent is told with
    /// [`Event::NotSent`](crate::Event::NotSent).
    Push {
        to: NodeId,
        attempt: Attempt,
        from: Offset,
        up_to: Offset,
    },
    SendBeat {
        to: NodeId,
        beat: Pushed,
    },
    SendAck {
        to: NodeId,
        ack: Ack,
    },
    SendRefusal {
        to: NodeId,
        refusal: Refusal,
    },

    /// Everything below is committed: acknowledge it (at the leader), let it be read.
    Advance {
        high_watermark: Offset,
    },
    /// An unclean election took committed records back: readers start again below.
    Rewound {
        high_watermark: Offset,
    },
    /// What was appended under `epoch` at and above `from` has an unknown outcome.
    FailPending {
        epoch: LeaderEpoch,
        from: Offset,
    },

    /// One transaction: when the record still has this revision, give it this ISR. The store may put
    /// the proposals of many partitions into one.
    ProposeIsr {
        ticket: Ticket,
        revision: u64,
        isr: Vec<ReplicaId>,
    },
    /// Read the record with a linearizable read that begins now.
    ReadBack,
    /// Read the pointer and the state object (an unclean election); answered by `Tiered`.
    ReadTiered,

    /// This replica leads, and places appends from `start` on.
    BecameLeader {
        epoch: LeaderEpoch,
        start: Offset,
    },
    /// This replica follows; its log is a prefix of the leader's.
    BecameFollower {
        epoch: LeaderEpoch,
        leader: Instance,
    },
    /// This replica leads no more, and never again under this epoch.
    StepDown {
        epoch: LeaderEpoch,
        reason: StepDownReason,
    },
    /// The replica stops, or goes on without the one that broke a promise. A person has to look.
    Raise(Alarm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDownReason {
    /// A newer epoch is known.
    Superseded,
    /// The store's lease may have run out.
    Fenced,
    /// It was asked to, and everything appended is committed, or it waited long enough.
    Resigned,
    /// Its own disk is late while another member of the ISR is ahead.
    SlowDisk,
    /// A pushed batch could not be written here.
    LocalLost,
    /// An alarm was raised.
    Alarmed,
}
