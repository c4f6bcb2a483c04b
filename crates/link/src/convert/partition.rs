//! The calls on one partition's log.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidelog_format::pointer::Pointer;
use tidelog_model::{Offset, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec, PartitionDescription};
use tidelog_proto::v1;

use super::{BadMessage, Converted, needed, partition, partition_message};

/// One fetch asks for no more than this, whatever it says.
const FETCH_BYTES_MAX: u64 = 32 * 1024 * 1024;

fn isolation(read_committed: bool) -> Isolation {
    if read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

pub(crate) fn fetch_call(fetch: &Fetch) -> v1::FetchCall {
    let clamp = |wait: Duration| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    v1::FetchCall {
        partition: Some(partition_message(fetch.partition)),
        from: fetch.from.0,
        max_bytes: fetch.max_bytes as u64,
        max_wait_ms: fetch.max_wait.map(clamp),
        read_committed: fetch.isolation == Isolation::ReadCommitted,
        follower: fetch.follower,
    }
}

pub(crate) fn fetch(call: v1::FetchCall) -> Converted<Fetch> {
    Ok(Fetch {
        partition: partition(call.partition)?,
        from: Offset(call.from),
        max_bytes: call.max_bytes.min(FETCH_BYTES_MAX) as usize,
        max_wait: call.max_wait_ms.map(|ms| Duration::from_millis(u64::from(ms))),
        isolation: isolation(call.read_committed),
        follower: call.follower,
    })
}

pub(crate) fn fetch_reply(fetched: Fetched) -> (v1::FetchReply, Vec<Bytes>) {
    let marks = Some(marks_message(fetched.marks()));
    let (found, payload) = match fetched {
        Fetched::Batches { batches, .. } => {
            // A batch has at most 32 MiB.
            let bytes = batches.iter().map(|batch| batch.len() as u32).collect();
            (v1::fetch_reply::Found::Batches(v1::Batches { bytes }), batches)
        }
        Fetched::Tiered { pointer, .. } => (v1::fetch_reply::Found::Tiered(pointer.encode()), Vec::new()),
        Fetched::Nothing { .. } => (v1::fetch_reply::Found::Nothing(v1::EmptyCall {}), Vec::new()),
    };
    (v1::FetchReply { marks, found: Some(found) }, payload)
}

/// The batches are parts of `payload`, without a copy.
pub(crate) fn fetched(reply: v1::FetchReply, payload: BytesMut) -> Converted<Fetched> {
    let marks = marks(&needed(reply.marks, "marks")?);
    Ok(match needed(reply.found, "answer")? {
        v1::fetch_reply::Found::Batches(lengths) => {
            let mut payload = payload.freeze();
            let mut batches = Vec::with_capacity(lengths.bytes.len());
            for length in lengths.bytes {
                let length = length as usize;
                if length > payload.len() {
                    return Err(BadMessage("payload"));
                }
                batches.push(payload.split_to(length));
            }
            if !payload.is_empty() {
                return Err(BadMessage("payload"));
            }
            Fetched::Batches { batches, marks }
        }
        v1::fetch_reply::Found::Tiered(pointer) => {
            let pointer = Pointer::decode(&pointer).map_err(|_| BadMessage("pointer"))?;
            Fetched::Tiered { pointer, marks }
        }
        v1::fetch_reply::Found::Nothing(_) => Fetched::Nothing { marks },
    })
}

fn marks_message(marks: &Marks) -> v1::Marks {
    v1::Marks {
        log_start: marks.log_start.0,
        local_start: marks.local_start.0,
        tiered_end: marks.tiered_end.0,
        last_stable: marks.last_stable.0,
        high_watermark: marks.high_watermark.0,
        log_end: marks.log_end.0,
    }
}

fn marks(message: &v1::Marks) -> Marks {
    Marks {
        log_start: Offset(message.log_start),
        local_start: Offset(message.local_start),
        tiered_end: Offset(message.tiered_end),
        last_stable: Offset(message.last_stable),
        high_watermark: Offset(message.high_watermark),
        log_end: Offset(message.log_end),
    }
}

pub(crate) fn list_offset_call(
    partition: TopicPartition,
    spec: OffsetSpec,
    isolation: Isolation,
) -> v1::ListOffsetCall {
    let spec = match spec {
        OffsetSpec::Start => v1::list_offset_call::Spec::Start(v1::EmptyCall {}),
        OffsetSpec::End => v1::list_offset_call::Spec::End(v1::EmptyCall {}),
        OffsetSpec::Timestamp(timestamp) => v1::list_offset_call::Spec::TimestampMs(timestamp.0),
    };
    v1::ListOffsetCall {
        partition: Some(partition_message(partition)),
        read_committed: isolation == Isolation::ReadCommitted,
        spec: Some(spec),
    }
}

pub(crate) fn list_offset(call: v1::ListOffsetCall) -> Converted<(TopicPartition, OffsetSpec, Isolation)> {
    let spec = match needed(call.spec, "offset")? {
        v1::list_offset_call::Spec::Start(_) => OffsetSpec::Start,
        v1::list_offset_call::Spec::End(_) => OffsetSpec::End,
        v1::list_offset_call::Spec::TimestampMs(ms) => OffsetSpec::Timestamp(TimestampMs(ms)),
    };
    Ok((partition(call.partition)?, spec, isolation(call.read_committed)))
}

pub(crate) fn listed_reply(listed: Option<ListedOffset>) -> v1::ListOffsetReply {
    v1::ListOffsetReply {
        offset: listed.map(|listed| listed.offset.0),
        timestamp_ms: listed.map_or(TimestampMs::NONE, |listed| listed.timestamp).0,
    }
}

pub(crate) fn listed(reply: &v1::ListOffsetReply) -> Option<ListedOffset> {
    let timestamp = TimestampMs(reply.timestamp_ms);
    reply.offset.map(|offset| ListedOffset { offset: Offset(offset), timestamp })
}

pub(crate) fn describe_reply(description: &PartitionDescription) -> v1::DescribeReply {
    v1::DescribeReply {
        marks: Some(marks_message(&description.marks)),
        local_bytes: description.local_bytes,
        bucket_bytes: description.bucket_bytes,
        segments: description.segments,
        untiered_bytes: description.untiered_bytes,
        untiered_ms: description.untiered_ms,
    }
}

pub(crate) fn description(
    partition: TopicPartition,
    reply: &v1::DescribeReply,
) -> Converted<PartitionDescription> {
    Ok(PartitionDescription {
        partition,
        marks: marks(reply.marks.as_ref().ok_or(BadMessage("marks"))?),
        local_bytes: reply.local_bytes,
        bucket_bytes: reply.bucket_bytes,
        segments: reply.segments,
        untiered_bytes: reply.untiered_bytes,
        untiered_ms: reply.untiered_ms,
    })
}

pub(crate) fn producer_reply(id: ProducerId, epoch: ProducerEpoch) -> v1::ProducerIdReply {
    v1::ProducerIdReply { producer_id: id.0, producer_epoch: i32::from(epoch.0) }
}

pub(crate) fn producer(reply: v1::ProducerIdReply) -> Converted<(ProducerId, ProducerEpoch)> {
    let epoch = i16::try_from(reply.producer_epoch).map_err(|_| BadMessage("producer epoch"))?;
    Ok((ProducerId(reply.producer_id), ProducerEpoch(epoch)))
}
