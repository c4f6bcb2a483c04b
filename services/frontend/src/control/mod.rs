//! Control streams: requests one after the other, each answered before the next is read.

mod admin;
mod cluster;
pub(crate) mod offsets;
mod storage;
mod topics;

use std::time::Duration;

use tidelog_model::ErrorCode;
use tidelog_proto::v1;
use tidelog_proto::v1::request::Body;
use tidelog_proto::v1::response::Body as Answer;
use tidelog_wire::{CloseCode, Frame, FrameKind, Stream};
use tokio::time::timeout;

use crate::connection::unexpected;
use crate::edge::Edge;
use crate::error;

/// The longest that a client can make a request last.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Requests that read many partitions look at so many at a time.
const CONCURRENT_MAX: usize = 32;

pub(crate) async fn serve(mut stream: Stream, first: Frame, edge: &Edge) {
    let mut frame = first;
    loop {
        if frame.kind != FrameKind::Request {
            return unexpected(stream, frame.kind).await;
        }
        let request: v1::Request = match frame.decode(FrameKind::Request) {
            Ok(request) => request,
            Err(error) => return stream.give_up(&error).await,
        };
        drop(frame);
        let response = answer(request, edge).await;
        if stream.send.send(FrameKind::Response, &response, &[]).await.is_err() {
            return;
        }
        let next = tokio::select! {
            biased;
            () = edge.drain.cancelled() => {
                return stream.fail(&error::shutting_down(), CloseCode::STREAM_SHUTTING_DOWN).await;
            }
            next = stream.recv.recv() => next,
        };
        frame = match next {
            Ok(Some(frame)) => frame,
            Ok(None) => return stream.finish().await,
            Err(error) => return stream.give_up(&error).await,
        };
    }
}

async fn answer(request: v1::Request, edge: &Edge) -> v1::Response {
    let within = match request.timeout_ms {
        0 => edge.options.request_timeout,
        ms => Duration::from_millis(u64::from(ms)).min(TIMEOUT_MAX),
    };
    let Some(body) = request.body else {
        let message = "this server does not know the request";
        return failed(error::of(ErrorCode::UnsupportedVersion, message));
    };
    match timeout(within, act(body, edge)).await {
        Ok(Ok(body)) => v1::Response { error: None, body: Some(body) },
        Ok(Err(error)) => failed(error),
        Err(_) => {
            let message = format!("not done within {} ms; the outcome is unknown", within.as_millis());
            failed(error::of(ErrorCode::RequestTimedOut, message))
        }
    }
}

fn failed(error: v1::Error) -> v1::Response {
    v1::Response { error: Some(error), body: None }
}

async fn act(body: Body, edge: &Edge) -> Result<Answer, v1::Error> {
    Ok(match body {
        Body::Metadata(_) => Answer::Metadata(cluster::metadata(edge)),
        Body::InitProducer(_) => Answer::InitProducer(cluster::init_producer(edge).await?),
        Body::CreateTopic(request) => Answer::CreateTopic(topics::create(request, edge).await?),
        Body::DeleteTopic(request) => Answer::DeleteTopic(topics::delete(request, edge).await?),
        Body::AlterTopic(request) => Answer::AlterTopic(topics::alter(request, edge).await?),
        Body::DescribeTopic(request) => Answer::DescribeTopic(topics::describe(request, edge).await?),
        Body::ListTopics(request) => Answer::ListTopics(topics::list(&request, edge).await?),
        Body::ListOffsets(request) => Answer::ListOffsets(offsets::list(request, edge).await?),
        Body::DescribeStorage(request) => Answer::DescribeStorage(storage::describe(request, edge).await?),
        Body::Offload(request) => Answer::Offload(storage::offload(request, edge).await?),
        Body::Evict(request) => Answer::Evict(storage::evict(request, edge).await?),
        body => admin::act(body, edge).await?,
    })
}
