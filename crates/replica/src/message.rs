//! What replicas say to each other. Messages may be lost, delayed, repeated and reordered: no rule
//! depends on how they travel. Bytes travel beside [`Pushed`]; the protocol sees their [`Span`].

use tidelog_model::{LeaderEpoch, Offset};

use crate::history::EpochStart;
use crate::identity::Instance;
use crate::span::{Marks, Span};
use crate::time::Instant;

/// Tells answers to the newest attempt of a leader to lead one follower from answers to earlier ones.
/// Only saves work: what is safe never depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attempt(pub u32);

/// Leader to follower: follow me. Says all that a follower needs to find where the logs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    pub epoch: LeaderEpoch,
    pub leader: Instance,
    pub attempt: Attempt,
    /// The leader's epoch history, oldest first, at most [`HISTORY_SENT_MAX`](crate::HISTORY_SENT_MAX)
    /// of its newest entries. Ends with the leader's own epoch.
    pub history: Vec<EpochStart>,
    pub marks: Marks,
    pub high_watermark: Offset,
    pub log_end: Offset,
    /// As in the record: permits to cut below a high watermark that was known before that epoch.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// The leader's clock; comes back as [`Ack::echo`].
    pub sent_at: Instant,
}

/// Leader to follower: the next batch, or, without a span, a heartbeat. `to` names nobody: whoever
/// follows `epoch` and ends where the span begins takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub epoch: LeaderEpoch,
    pub leader: Instance,
    pub attempt: Attempt,
    pub sent_at: Instant,
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub tiered_end: Offset,
    /// The epoch of the record right before the span; `None` where the log begins with the span.
    pub prev_epoch: Option<LeaderEpoch>,
    pub span: Option<Span>,
}

/// Follower to leader: everything of your log up to `durable` is synced here. Also the answer to
/// [`Lead`], once the follower's log is a prefix of the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub from: Instance,
    pub epoch: LeaderEpoch,
    pub attempt: Attempt,
    /// Whether this answers a [`Lead`]: sending goes on at `log_end`.
    pub answers_lead: bool,
    pub log_end: Offset,
    pub durable: Offset,
    /// `sent_at` of the newest message of this epoch that was taken: the follower had not begun to
    /// serve another epoch when that was sent.
    pub echo: Instant,
}

/// Follower to leader: no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub from: Instance,
    /// The epoch of the message that is refused.
    pub refused: LeaderEpoch,
    pub attempt: Attempt,
    pub reason: RefusalReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// This replica knows of a newer epoch: the sender no longer leads.
    Superseded { epoch: LeaderEpoch },
    /// This replica does not follow that epoch yet: it needs a [`Lead`] first.
    NotFollowing,
    /// A batch before this one is missing; the log ends here.
    Gap { log_end: Offset },
    /// The replica raised an alarm and takes nothing until it is started again.
    Stopped,
}
