//! Messages of node 1, which leads in epoch 5, and of node 2, which follows.

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Ack, Attempt, EpochStart, Instant, Lead, Marks, Pushed, Span};

use super::instance;

/// Offsets of every batch.
pub(crate) const RECORDS: u64 = 10;

pub(crate) fn lead(attempt: u32) -> Lead {
    Lead {
        epoch: LeaderEpoch(5),
        leader: instance(1),
        attempt: Attempt(attempt),
        history: vec![
            EpochStart { epoch: LeaderEpoch(1), start: Offset(0) },
            EpochStart { epoch: LeaderEpoch(5), start: Offset(90) },
        ],
        marks: Marks { log_start: Offset(1), local_start: Offset(10), tiered_end: Offset(20) },
        high_watermark: Offset(80),
        log_end: Offset(90),
        unclean_epoch: Some(LeaderEpoch(4)),
        sent_at: Instant(77),
    }
}

pub(crate) fn beat(attempt: u32) -> Pushed {
    Pushed {
        epoch: LeaderEpoch(5),
        leader: instance(1),
        attempt: Attempt(attempt),
        sent_at: Instant(78),
        high_watermark: Offset(80),
        log_start: Offset(1),
        tiered_end: Offset(20),
        prev_epoch: Some(LeaderEpoch(4)),
        span: None,
    }
}

/// The batch that begins at `base`.
pub(crate) fn push(attempt: u32, base: u64) -> Pushed {
    let next = Offset(base + RECORDS);
    let span = Span { epoch: LeaderEpoch(4), base: Offset(base), next, crc: 0xdead_beef };
    Pushed { span: Some(span), ..beat(attempt) }
}

pub(crate) fn ack(attempt: u32, answers_lead: bool, durable: u64) -> Ack {
    Ack {
        from: instance(2),
        epoch: LeaderEpoch(5),
        attempt: Attempt(attempt),
        answers_lead,
        log_end: Offset(90),
        durable: Offset(durable),
        echo: Instant(78),
    }
}
