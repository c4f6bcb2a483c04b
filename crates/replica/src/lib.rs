//! Replication of one partition, as one pure state machine.
//!
//! A [`Replica`] is one partition on one data directory, in one life of its process; leader and
//! follower are roles of the same machine. [`Event`]s go in with the time of a monotonic clock,
//! [`Action`]s come out, to be carried out in order. It knows no sockets, clocks, disks, tasks or
//! bytes: it says which range of the log goes where, and the store moves it.
//!
//! `docs/replication.md` tells the whole protocol and why it is right. In short, by the holes that
//! Kafka's protocol had, and where each is closed:
//!
//! | hole | rule | in |
//! |---|---|---|
//! | truncation to the high watermark loses or keeps the wrong records (KIP-101) | cut where the epoch histories part | [`History::fork`] |
//! | one epoch's end is not enough after fast failovers (KIP-279) | both histories are at hand | [`Lead::history`] |
//! | a late Lead cuts what was acknowledged since | records of the leader's own epoch are never cut | [`History::fork`] |
//! | zombies write (KIP-320) | older epochs are refused, and the refusal names the newer one | `replica::take`, `replica::follow` |
//! | a restarted process acts on metadata of its former life (KIP-380) | nothing before a read that began after the boot was registered | [`Origin::Read`] |
//! | a restarted leader resumes its epoch and names other bytes | an epoch belongs to (node, directory, boot); none is led twice | [`Instance`], `replica::promote` |
//! | a member comes back with an empty or older disk (KIP-903) | ISR entries name the directory; acknowledgements count for it only | [`ReplicaId`], `leader::peer` |
//! | the leader believes an ISR that the metadata store does not have (KIP-497) | the union counts until the record's revision has moved | `leader::isr` |
//! | a replica joins below what was committed before its leader's time (KAFKA-7128) | join at the high watermark and at the epoch's start | `leader::peer` |
//! | the last replica standing loses its disk (KIP-966) | the ISR never shrinks below the floor | `leader::isr` |
//! | "latest" goes back at a failover (KIP-207), or is told by a zombie | confirmed by all who count within a lease; the successor waits longer than that | `leader::read`, `leader::watermark` |
//! | one slow disk slows everyone for ever | who has not reached an earlier end within `lag_max` leaves | `leader::peer` |
//! | a completion from before a truncation counts for what came after it | completions carry their [`Generation`] | `log` |
//! | replicas diverge and nobody notices | what is offered again is compared; prefix epochs must match | `replica::take` |

mod action;
mod alarm;
mod config;
mod event;
mod faults;
mod history;
mod identity;
mod leader;
mod log;
mod message;
mod record;
mod replica;
mod span;
mod time;

pub use action::{Action, Actions, StepDownReason};
pub use alarm::Alarm;
pub use config::{Config, HISTORY_SENT_MAX};
pub use event::{Event, IsrOutcome, Ticket};
pub use faults::Faults;
pub use history::{EpochStart, Fork, History};
pub use identity::{Instance, ReplicaId};
pub use log::Recovered;
pub use message::{Ack, Attempt, Lead, Pushed, Refusal, RefusalReason};
pub use record::{Observed, Origin, Record};
pub use replica::{AppendRefused, Latest, Replica, Report, Role};
pub use span::{Generation, Marks, Place, Span};
pub use time::Instant;
