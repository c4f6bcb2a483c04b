//! Places in partitions, by description.

use futures::{StreamExt, stream};
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{Isolation, ListedOffset, OffsetSpec};
use tidelog_proto::v1;
use tidelog_proto::v1::offset_spec::At;

use super::CONCURRENT_MAX;
use crate::edge::Edge;
use crate::error;

/// Most places in one request.
const PLACES_MAX: usize = 1_000;

pub(super) async fn list(
    request: v1::ListOffsetsRequest,
    edge: &Edge,
) -> Result<v1::ListOffsetsResponse, v1::Error> {
    if request.places.len() > PLACES_MAX {
        let message = format!("at most {PLACES_MAX} places in one request, not {}", request.places.len());
        return Err(error::of(ErrorCode::InvalidRequest, message));
    }
    let isolation =
        if request.read_committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let results = stream::iter(request.places)
        .map(|place| async move {
            let partition = edge.partition(place.topic, place.partition).await?;
            find(partition, place.at, isolation, edge).await
        })
        .buffered(CONCURRENT_MAX)
        .map(|found| match found {
            Ok(Found { place, .. }) => v1::list_offsets_response::Result {
                offset: place.offset.0,
                timestamp_ms: Some(place.timestamp.0).filter(|_| place.timestamp != TimestampMs::NONE),
                error: None,
            },
            Err(error) => v1::list_offsets_response::Result { error: Some(error), ..Default::default() },
        })
        .collect()
        .await;
    Ok(v1::ListOffsetsResponse { results })
}

/// A place that was found, and the bounds that a reader has there.
pub(crate) struct Found {
    pub place: ListedOffset,
    pub log_start: Offset,
    /// The end of what the reader may see.
    pub end: Offset,
}

/// Where a description leads. An absent one is the start; a timestamp later than all records, the end.
pub(crate) async fn find(
    partition: TopicPartition,
    at: Option<v1::OffsetSpec>,
    isolation: Isolation,
    edge: &Edge,
) -> Result<Found, v1::Error> {
    let listed = |spec| async move {
        edge.store.list_offset(partition, spec, isolation).await.map_err(error::of_store)
    };
    // Start before end: both only grow, so the bounds never cross.
    let log_start = listed(OffsetSpec::Start).await?.map_or(Offset::ZERO, |start| start.offset);
    let end = listed(OffsetSpec::End).await?.map_or(log_start, |end| end.offset);
    let untimed = |offset| ListedOffset { offset, timestamp: TimestampMs::NONE };
    let place = match at.and_then(|spec| spec.at).unwrap_or(At::Start(v1::offset_spec::Unit {})) {
        At::Start(_) => untimed(log_start),
        At::End(_) => untimed(end),
        At::TimestampMs(ms) => {
            let found = listed(OffsetSpec::Timestamp(TimestampMs(ms))).await?;
            found.unwrap_or(untimed(end))
        }
        At::BeforeEnd(count) => untimed(Offset(end.0.saturating_sub(count)).max(log_start)),
        At::AfterStart(count) => untimed(Offset(log_start.0.saturating_add(count)).min(end)),
        At::Offset(offset) => {
            let offset = Offset(offset);
            if offset < log_start || offset > end {
                return Err(error::out_of_range(offset, log_start, end));
            }
            untimed(offset)
        }
    };
    Ok(Found { place, log_start, end })
}
