//! What operators ask of a cluster: passed on to its controller, whom whoever stands behind the trait
//! finds.

use futures::{StreamExt, TryStreamExt, stream};
use tidelog_link::messages;
use tidelog_model::{ErrorCode, NodeId, TopicPartition};
use tidelog_peer::{ClusterAdmin, PARTITIONS_PER_COMMAND_MAX, Reassignment, StoreError};
use tidelog_proto::v1;
use tidelog_proto::v1::request::Body;
use tidelog_proto::v1::response::Body as Answer;

use super::CONCURRENT_MAX;
use crate::edge::Edge;
use crate::error;

/// The cluster's controller; an error where there is no cluster.
pub(super) fn controller(edge: &Edge) -> Result<&dyn ClusterAdmin, v1::Error> {
    edge.cluster.as_deref().ok_or_else(|| {
        let message = "this server is a single process; only a cluster can do this";
        error::of(ErrorCode::UnsupportedVersion, message)
    })
}

pub(super) async fn act(body: Body, edge: &Edge) -> Result<Answer, v1::Error> {
    let controller = controller(edge)?;
    Ok(match body {
        Body::ClusterStatus(_) => {
            Answer::ClusterStatus(messages::status_reply(controller.status().await.map_err(error::of_store)?))
        }
        Body::ListNodes(request) => {
            let (after, limit) = messages::nodes(request);
            let page = controller.nodes(after, limit).await.map_err(error::of_store)?;
            Answer::ListNodes(messages::nodes_reply(page))
        }
        Body::ListPartitions(request) => Answer::ListPartitions(partitions(request, controller, edge).await?),
        Body::DrainNode(request) => {
            let node = NodeId(request.node);
            let done = if request.decommission {
                controller.decommission(node).await
            } else {
                controller.drain(node).await
            };
            done.map_err(error::of_store)?;
            Answer::DrainNode(v1::DrainNodeResponse {})
        }
        Body::UndrainNode(request) => {
            controller.undrain(NodeId(request.node)).await.map_err(error::of_store)?;
            Answer::UndrainNode(v1::UndrainNodeResponse {})
        }
        Body::Reassign(request) => {
            controller.reassign(moves(request, edge).await?).await.map_err(error::of_store)?;
            Answer::Reassign(v1::ReassignResponse {})
        }
        Body::Rebalance(_) => {
            let leaderships = controller.rebalance().await.map_err(error::of_store)?;
            Answer::Rebalance(v1::RebalanceResponse { leaderships })
        }
        Body::ElectUnclean(request) => {
            let lost = lost(request, edge).await?;
            let elected = controller.elect_unclean(lost).await.map_err(error::of_store)?;
            Answer::ElectUnclean(messages::elected_reply(&elected))
        }
        _ => return Err(error::of(ErrorCode::UnsupportedVersion, "this server does not know the request")),
    })
}

async fn partitions(
    request: v1::ListPartitionsRequest,
    controller: &dyn ClusterAdmin,
    edge: &Edge,
) -> Result<v1::ListPartitionsResponse, v1::Error> {
    let topic = match &request.topic {
        Some(topic) => Some(edge.topic(Some(topic.clone())).await?.id),
        None => None,
    };
    let query =
        messages::partitions(&request, topic).map_err(|bad| error::of_store(StoreError::from(bad)))?;
    let page = controller.partitions(query).await.map_err(error::of_store)?;
    Ok(messages::partitions_reply(&page))
}

async fn moves(request: v1::ReassignRequest, edge: &Edge) -> Result<Vec<Reassignment>, v1::Error> {
    within_bounds(request.moves.len())?;
    let moves = stream::iter(request.moves).map(|step| async move {
        let partition = edge.partition(step.topic, step.partition).await?;
        Ok(Reassignment { partition, replicas: messages::nodes_of(step.replicas) })
    });
    moves.buffered(CONCURRENT_MAX).try_collect().await
}

async fn lost(request: v1::ElectUncleanRequest, edge: &Edge) -> Result<Vec<TopicPartition>, v1::Error> {
    within_bounds(request.partitions.len())?;
    let partitions = stream::iter(request.partitions).map(|id| edge.partition(id.topic, id.partition));
    partitions.buffered(CONCURRENT_MAX).try_collect().await
}

fn within_bounds(named: usize) -> Result<(), v1::Error> {
    if (1..=PARTITIONS_PER_COMMAND_MAX).contains(&named) {
        return Ok(());
    }
    let message = format!("1 to {PARTITIONS_PER_COMMAND_MAX} partitions in one request, not {named}");
    Err(error::of(ErrorCode::InvalidRequest, message))
}
