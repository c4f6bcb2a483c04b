//! Everything that travels.

use tidelog_model::{Offset, TopicPartition};
use tidelog_peer::{HandOver, LogReports, Pong};
use tidelog_replica::{Ack, Lead, Pushed, Refusal};

use crate::log::{Batch, Origin};
use crate::metadata::{Request, Response};

/// Numbers one question, for ever: an answer finds its question, or nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub u64);

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Peer {
        partition: usize,
        peer: Peer,
    },
    Ask {
        call: CallId,
        request: Request,
    },
    Answer {
        call: CallId,
        response: Response,
    },
    Ping {
        round: u64,
    },
    Pong {
        round: u64,
        pong: Pong,
    },
    /// How far do the logs of these reach?
    Report {
        call: CallId,
        partitions: Vec<TopicPartition>,
    },
    Reports {
        call: CallId,
        reports: LogReports,
    },
    HandOver {
        call: CallId,
        token: u64,
        requests: Vec<HandOver>,
    },
    HandedOver {
        call: CallId,
    },
    Client {
        call: CallId,
        partition: usize,
        request: ClientRequest,
    },
    Reply {
        call: CallId,
        reply: Reply,
    },
}

/// What replicas say to each other. A pushed span brings its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    Lead(Lead),
    Pushed(Pushed, Option<Batch>),
    Ack(Ack),
    Refusal(Refusal),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientRequest {
    Produce { count: u32, value: u32, origin: Option<Origin> },
    Fetch { from: Offset },
    Latest,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Acknowledged {
        base: Offset,
    },
    /// Nothing was appended.
    Refused,
    /// It was appended and may or may not stay.
    OutcomeUnknown,
    Fetched {
        batches: Vec<Batch>,
    },
    Latest {
        end: Offset,
    },
}
