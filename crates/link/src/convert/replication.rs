//! What leaders and followers say to each other.

use tidelog_model::{LeaderEpoch, NodeId, Offset};
use tidelog_proto::v1;
use tidelog_replica::{
    Ack, Attempt, EpochStart, HISTORY_SENT_MAX, Instance, Instant, Lead, Marks, Pushed, Refusal,
    RefusalReason, ReplicaId, Span,
};

use super::{BadMessage, Converted, directory, directory_bytes, needed};

pub(crate) fn instance_message(instance: Instance) -> v1::Instance {
    v1::Instance {
        node: instance.replica.node.0,
        directory: directory_bytes(instance.replica.directory),
        boot: instance.boot,
    }
}

pub(crate) fn instance(message: Option<v1::Instance>) -> Converted<Instance> {
    let message = needed(message, "instance")?;
    let replica = ReplicaId { node: NodeId(message.node), directory: directory(&message.directory)? };
    Ok(Instance { replica, boot: message.boot })
}

pub(crate) fn lead_message(lead: &Lead) -> v1::Lead {
    let history =
        lead.history.iter().map(|entry| v1::EpochStart { epoch: entry.epoch.0, start: entry.start.0 });
    v1::Lead {
        epoch: lead.epoch.0,
        attempt: lead.attempt.0,
        history: history.collect(),
        log_start: lead.marks.log_start.0,
        local_start: lead.marks.local_start.0,
        tiered_end: lead.marks.tiered_end.0,
        high_watermark: lead.high_watermark.0,
        log_end: lead.log_end.0,
        unclean_epoch: lead.unclean_epoch.map(|epoch| epoch.0),
        sent_at: lead.sent_at.0,
    }
}

/// `leader` is who opened the lane: a message cannot claim to be another's.
pub(crate) fn lead(message: v1::Lead, leader: Instance) -> Converted<Lead> {
    if message.history.len() > HISTORY_SENT_MAX {
        return Err(BadMessage("epoch history"));
    }
    let history = message.history.into_iter();
    let history = history
        .map(|entry| EpochStart { epoch: LeaderEpoch(entry.epoch), start: Offset(entry.start) })
        .collect();
    Ok(Lead {
        epoch: LeaderEpoch(message.epoch),
        leader,
        attempt: Attempt(message.attempt),
        history,
        marks: Marks {
            log_start: Offset(message.log_start),
            local_start: Offset(message.local_start),
            tiered_end: Offset(message.tiered_end),
        },
        high_watermark: Offset(message.high_watermark),
        log_end: Offset(message.log_end),
        unclean_epoch: message.unclean_epoch.map(LeaderEpoch),
        sent_at: Instant(message.sent_at),
    })
}

/// `bytes` is the length of the span's batch in the frame's payload.
pub(crate) fn push_message(pushed: &Pushed, bytes: u32) -> v1::Push {
    let span = pushed.span.map(|span| v1::Span {
        epoch: span.epoch.0,
        base: span.base.0,
        next: span.next.0,
        crc: span.crc,
        bytes,
    });
    v1::Push {
        epoch: pushed.epoch.0,
        attempt: pushed.attempt.0,
        sent_at: pushed.sent_at.0,
        high_watermark: pushed.high_watermark.0,
        log_start: pushed.log_start.0,
        tiered_end: pushed.tiered_end.0,
        prev_epoch: pushed.prev_epoch.map(|epoch| epoch.0),
        span,
    }
}

/// The push, and the length of its batch.
pub(crate) fn pushed(message: &v1::Push, leader: Instance) -> Converted<(Pushed, u32)> {
    let bytes = message.span.as_ref().map_or(0, |span| span.bytes);
    let span = message.span.as_ref().map(|span| Span {
        epoch: LeaderEpoch(span.epoch),
        base: Offset(span.base),
        next: Offset(span.next),
        crc: span.crc,
    });
    if span.is_some_and(|span| span.next <= span.base || bytes == 0) {
        return Err(BadMessage("span"));
    }
    let pushed = Pushed {
        epoch: LeaderEpoch(message.epoch),
        leader,
        attempt: Attempt(message.attempt),
        sent_at: Instant(message.sent_at),
        high_watermark: Offset(message.high_watermark),
        log_start: Offset(message.log_start),
        tiered_end: Offset(message.tiered_end),
        prev_epoch: message.prev_epoch.map(LeaderEpoch),
        span,
    };
    Ok((pushed, bytes))
}

pub(crate) fn ack_message(ack: &Ack) -> v1::Ack {
    v1::Ack {
        epoch: ack.epoch.0,
        attempt: ack.attempt.0,
        answers_lead: ack.answers_lead,
        log_end: ack.log_end.0,
        durable: ack.durable.0,
        echo: ack.echo.0,
    }
}

pub(crate) fn ack(message: &v1::Ack, from: Instance) -> Ack {
    Ack {
        from,
        epoch: LeaderEpoch(message.epoch),
        attempt: Attempt(message.attempt),
        answers_lead: message.answers_lead,
        log_end: Offset(message.log_end),
        durable: Offset(message.durable),
        echo: Instant(message.echo),
    }
}

pub(crate) fn refusal_message(refusal: &Refusal) -> v1::Refusal {
    let reason = match refusal.reason {
        RefusalReason::Superseded { epoch } => v1::refusal::Reason::Superseded(epoch.0),
        RefusalReason::NotFollowing => v1::refusal::Reason::NotFollowing(v1::EmptyCall {}),
        RefusalReason::Gap { log_end } => v1::refusal::Reason::Gap(log_end.0),
        RefusalReason::Stopped => v1::refusal::Reason::Stopped(v1::EmptyCall {}),
    };
    v1::Refusal { refused: refusal.refused.0, attempt: refusal.attempt.0, reason: Some(reason) }
}

pub(crate) fn refusal(message: v1::Refusal, from: Instance) -> Converted<Refusal> {
    let reason = match needed(message.reason, "reason")? {
        v1::refusal::Reason::Superseded(epoch) => RefusalReason::Superseded { epoch: LeaderEpoch(epoch) },
        v1::refusal::Reason::NotFollowing(_) => RefusalReason::NotFollowing,
        v1::refusal::Reason::Gap(log_end) => RefusalReason::Gap { log_end: Offset(log_end) },
        v1::refusal::Reason::Stopped(_) => RefusalReason::Stopped,
    };
    let (refused, attempt) = (LeaderEpoch(message.refused), Attempt(message.attempt));
    Ok(Refusal { from, refused, attempt, reason })
}
