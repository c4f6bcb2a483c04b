//! From a subscribe frame to a place to begin.

use std::sync::Arc;

use tidelog_model::Offset;
use tidelog_peer::{Isolation, Marks};
use tidelog_proto::v1;

use super::end::EndWatch;
use super::room::READ_BYTES_MIN;
use super::run::Position;
use super::{Feed, READ_BYTES_MAX};
use crate::control::offsets::find;
use crate::edge::{Edge, id_bytes};

pub(super) async fn open(
    subscribe: v1::Subscribe,
    edge: &Arc<Edge>,
) -> Result<(Feed, v1::Subscribed), v1::Error> {
    let isolation = match subscribe.isolation() {
        v1::Isolation::ReadUncommitted => Isolation::ReadUncommitted,
        v1::Isolation::ReadCommitted => Isolation::ReadCommitted,
    };
    let partition = edge.partition(subscribe.topic, subscribe.partition).await?;
    let found = find(partition, subscribe.start, isolation, edge).await?;
    let asked = subscribe.stop_offset.map(Offset);
    let stop = match (asked, subscribe.stop_at_end.then_some(found.end)) {
        (Some(asked), Some(end)) => Some(asked.min(end)),
        (asked, end) => asked.or(end),
    };
    let read_bytes_max = match subscribe.payload_bytes_wanted as usize {
        0 => edge.options.records_bytes,
        wanted => wanted.clamp(1, READ_BYTES_MAX),
    };
    let subscribed = v1::Subscribed {
        topic_id: id_bytes(partition.topic),
        offset: found.place.offset.0,
        log_start: found.log_start.0,
        high_watermark: found.end.0,
        stop_offset: stop.map(|stop| stop.0),
    };
    let feed = Feed {
        edge: Arc::clone(edge),
        partition,
        isolation,
        position: Position { next: found.place.offset, stop },
        read_bytes: READ_BYTES_MIN.min(read_bytes_max),
        read_bytes_max,
        end: EndWatch::default(),
        marks: Marks::default(),
        needed_bytes: 0,
        idle_turns: 0,
    };
    Ok((feed, subscribed))
}
