//! The answering side.
//!
//! Every call is worked on in a task of its own, and answered when it is done. Answers wait in a short
//! queue; what they hold is taken from one budget for all lanes, so that a caller that does not read
//! holds no more than that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_model::{ErrorCode, NodeId};
use tidelog_peer::{ClusterAdmin, Fetch, Fetched, StoreError};
use tidelog_proto::v1;
use tidelog_proto::v1::call::Body;
use tidelog_proto::v1::reply::Body as Answer;
use tidelog_wire::{BytePermit, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::convert::{cluster, control, error_message, needed, partition, topic_id, topics};
use crate::limits::{CALL_TIMEOUT_MAX, CALLS_MAX, REPLIES_QUEUED_MAX};
use crate::server::Services;

/// Past this nothing is read until something is done. Above what a caller makes at a time: its
/// cancellations must be read.
const TASKS_MAX: usize = CALLS_MAX + CALLS_MAX / 2;

/// What was found out, with what it carries and what that takes of the budget.
type Found = (Answer, Vec<Bytes>, BytePermit);

struct Finished {
    id: u64,
    found: Result<Found, StoreError>,
}

pub(crate) async fn serve(mut stream: Stream, first: Frame, services: Arc<Services>) {
    let (finished, replies) = mpsc::channel(REPLIES_QUEUED_MAX);
    let ended = tokio::select! {
        ended = read(&mut stream.recv, first, &services, finished) => ended,
        error = write(&mut stream.send, replies) => Some(error),
    };
    match ended {
        // The caller has finished; nobody waits for what is still under way.
        None => stream.finish().await,
        Some(error) => stream.give_up(&error).await,
    }
}

/// `None` when the caller has finished.
async fn read(
    recv: &mut FrameReceiver,
    first: Frame,
    services: &Arc<Services>,
    finished: mpsc::Sender<Finished>,
) -> Option<WireError> {
    let mut tasks = JoinSet::new();
    let mut under_way: HashMap<u64, AbortHandle> = HashMap::new();
    let mut frame = Some(first);
    loop {
        if let Some(frame) = frame.take() {
            match take(&frame) {
                Ok(Some(call)) => {
                    let id = call.id;
                    let work = work(call, Arc::clone(services), finished.clone());
                    under_way.insert(id, tasks.spawn(work));
                }
                Ok(None) => {
                    if let Ok(cancel) = frame.decode::<v1::CallCancel>(FrameKind::CallCancel)
                        && let Some(task) = under_way.remove(&cancel.id)
                    {
                        task.abort();
                    }
                }
                Err(error) => return Some(error),
            }
        }
        tokio::select! {
            received = recv.recv(), if tasks.len() < TASKS_MAX => match received {
                Ok(Some(received)) => frame = Some(received),
                Ok(None) => return None,
                Err(error) => return Some(error),
            },
            Some(done) = tasks.join_next(), if !tasks.is_empty() => {
                if let Ok(id) = done {
                    under_way.remove(&id);
                }
            }
        }
    }
}

/// A call, or `None` for a cancellation.
fn take(frame: &Frame) -> Result<Option<v1::Call>, WireError> {
    if frame.kind == FrameKind::CallCancel { Ok(None) } else { frame.decode(FrameKind::Call).map(Some) }
}

async fn work(call: v1::Call, services: Arc<Services>, finished: mpsc::Sender<Finished>) -> u64 {
    let id = call.id;
    let found = answer(call, &services).await;
    // It fails when the lane is gone.
    let _ = finished.send(Finished { id, found }).await;
    id
}

async fn write(send: &mut FrameSender, mut replies: mpsc::Receiver<Finished>) -> WireError {
    while let Some(Finished { id, found }) = replies.recv().await {
        let (reply, payload, _permit) = match found {
            Ok((body, payload, permit)) => (v1::Reply { id, error: None, body: Some(body) }, payload, permit),
            Err(error) => {
                let reply = v1::Reply { id, error: Some(error_message(error)), body: None };
                (reply, Vec::new(), BytePermit::none())
            }
        };
        if let Err(error) = send.send(FrameKind::Reply, &reply, &payload).await {
            return error;
        }
    }
    WireError::LocallyClosed
}

async fn answer(call: v1::Call, services: &Services) -> Result<Found, StoreError> {
    let within = Duration::from_millis(u64::from(call.timeout_ms)).min(CALL_TIMEOUT_MAX);
    let Some(body) = call.body else {
        return Err(StoreError::new(ErrorCode::UnsupportedVersion, "this version does not know the call"));
    };
    timeout(within, act(body, services)).await.unwrap_or_else(|_| {
        let message = format!("not done within {} ms; the outcome is unknown", within.as_millis());
        Err(StoreError::new(ErrorCode::RequestTimedOut, message))
    })
}

async fn act(body: Body, services: &Services) -> Result<Found, StoreError> {
    let answer = match body {
        Body::Fetch(call) => return fetch(partition::fetch(call)?, services).await,
        Body::ListOffset(call) => {
            let (id, spec, isolation) = partition::list_offset(call)?;
            let listed = services.partitions()?.list_offset(id, spec, isolation).await?;
            Answer::ListOffset(partition::listed_reply(listed))
        }
        Body::Describe(call) => {
            let id = crate::convert::partition(call.partition)?;
            Answer::Describe(partition::describe_reply(&services.partitions()?.describe(id).await?))
        }
        Body::Offload(call) => {
            services.partitions()?.offload(topic_id(&call.topic_id)?).await?;
            done()
        }
        Body::Evict(call) => {
            services.partitions()?.evict(topic_id(&call.topic_id)?).await?;
            done()
        }
        Body::InitProducer(_) => {
            let (id, epoch) = services.partitions()?.init_producer().await?;
            Answer::InitProducer(partition::producer_reply(id, epoch))
        }
        body => act_on_topics(body, services).await?,
    };
    Ok((answer, Vec::new(), BytePermit::none()))
}

async fn act_on_topics(body: Body, services: &Services) -> Result<Answer, StoreError> {
    let topic = match body {
        Body::CreateTopic(call) => services.topics()?.create(topics::create(call)).await?,
        Body::AlterTopic(call) => {
            let topic = topics::topic_ref(call.topic)?;
            services.topics()?.alter(topic, call.config.into_iter().collect()).await?
        }
        Body::GetTopic(call) => services.topics()?.get(topics::topic_ref(Some(call))?).await?,
        Body::DeleteTopic(call) => {
            services.topics()?.delete(topics::topic_ref(Some(call))?).await?;
            return Ok(done());
        }
        Body::ListTopics(_) => {
            let topics = services.topics()?.list().await?.iter().map(topics::record).collect();
            return Ok(Answer::ListTopics(v1::TopicsReply { topics }));
        }
        body => return act_on_control(body, services).await,
    };
    Ok(Answer::Topic(v1::TopicReply { topic: Some(topics::record(&topic)) }))
}

async fn act_on_control(body: Body, services: &Services) -> Result<Answer, StoreError> {
    let store = || services.control();
    Ok(match body {
        Body::Ping(call) => Answer::Ping(control::pong_reply(&store()?.ping(control::ping(call)).await?)),
        Body::Report(call) => {
            Answer::Report(control::reports_reply(&store()?.report(control::partitions(call)?).await?))
        }
        Body::HandOver(call) => {
            let (token, partitions) = control::hand_over(call)?;
            store()?.hand_over(token, partitions).await?;
            done()
        }
        Body::Sizes(_) => Answer::Sizes(control::sizes_reply(&store()?.sizes().await?)),
        body => return act_on_cluster(body, services).await,
    })
}

async fn act_on_cluster(body: Body, services: &Services) -> Result<Answer, StoreError> {
    let controller = services.cluster()?;
    Ok(match body {
        Body::ClusterStatus(_) => Answer::ClusterStatus(cluster::status_reply(controller.status().await?)),
        Body::Nodes(call) => {
            let (after, limit) = cluster::nodes(call);
            Answer::Nodes(cluster::nodes_reply(controller.nodes(after, limit).await?))
        }
        Body::Partitions(call) => {
            let topic = call.topic.clone().map(|topic| cluster::by_id(Some(topic))).transpose()?;
            let query = cluster::partitions(&call, topic)?;
            Answer::Partitions(cluster::partitions_reply(&controller.partitions(query).await?))
        }
        Body::Rebalance(_) => {
            Answer::Rebalance(v1::RebalanceResponse { leaderships: controller.rebalance().await? })
        }
        Body::ElectUnclean(call) => {
            let elected = controller.elect_unclean(cluster::elect(call)?).await?;
            Answer::ElectUnclean(cluster::elected_reply(&elected))
        }
        body => {
            command(body, controller).await?;
            done()
        }
    })
}

/// What changes the cluster and has nothing to say.
async fn command(body: Body, controller: &dyn ClusterAdmin) -> Result<(), StoreError> {
    match body {
        Body::DrainNode(call) if call.decommission => controller.decommission(NodeId(call.node)).await,
        Body::DrainNode(call) => controller.drain(NodeId(call.node)).await,
        Body::UndrainNode(call) => controller.undrain(NodeId(call.node)).await,
        Body::Reassign(call) => controller.reassign(cluster::reassign(call)?).await,
        Body::SetReplicationFactor(call) => {
            controller.set_replication_factor(topic_id(&call.topic_id)?, call.count).await
        }
        Body::AddPartitions(call) => controller.add_partitions(topic_id(&call.topic_id)?, call.count).await,
        _ => {
            let message = "this process does not serve the call";
            Err(StoreError::new(ErrorCode::UnsupportedVersion, message))
        }
    }
}

/// Waits holding nothing, then takes room for what is read, be it one batch that is larger than asked.
async fn fetch(mut fetch: Fetch, services: &Services) -> Result<Found, StoreError> {
    let store = services.partitions()?;
    if fetch.max_wait.is_some() {
        let found = store.fetch(Fetch { max_bytes: 1, ..fetch }).await?;
        if !matches!(found, Fetched::Batches { .. }) {
            return Ok(fetch_answer(found, BytePermit::none()));
        }
        fetch.max_wait = None;
    }
    loop {
        let permit = services.replies.acquire(fetch.max_bytes).await;
        let found = store.fetch(fetch).await?;
        let bytes = found.bytes();
        if bytes <= permit.bytes() || permit.bytes() == services.replies.total_bytes() {
            return Ok(fetch_answer(found, permit));
        }
        // One batch that is larger than what was asked for: it is read again when there is room.
        fetch.max_bytes = bytes;
    }
}

fn fetch_answer(fetched: Fetched, permit: BytePermit) -> Found {
    let (reply, payload) = partition::fetch_reply(fetched);
    (Answer::Fetch(reply), payload, permit)
}

fn done() -> Answer {
    Answer::Done(v1::EmptyCall {})
}

impl Services {
    fn partitions(&self) -> Result<&dyn tidelog_peer::PartitionStore, StoreError> {
        Ok(needed(self.partitions.as_deref(), "service")?)
    }

    fn topics(&self) -> Result<&dyn tidelog_peer::Topics, StoreError> {
        Ok(needed(self.topics.as_deref(), "service")?)
    }

    fn control(&self) -> Result<&dyn tidelog_peer::StoreControl, StoreError> {
        Ok(needed(self.control.as_deref(), "service")?)
    }

    fn cluster(&self) -> Result<&dyn ClusterAdmin, StoreError> {
        Ok(needed(self.cluster.as_deref(), "service")?)
    }
}
