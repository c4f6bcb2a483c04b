//! One sequential reading of the journal that feeds the uploads of several partitions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_model::TopicPartition;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::OffloadError;
use super::job::Job;
use crate::node::Node;

/// Pieces of the journal that wait for one partition's upload.
const QUEUE_MAX: usize = 2;

/// What became of one partition.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) partition: TopicPartition,
    pub(crate) result: Result<(), OffloadError>,
}

/// Moves what `jobs` name. An error in one leaves the others alone.
pub(crate) async fn run(node: Arc<Node>, jobs: Vec<Job>) -> Vec<Outcome> {
    let wanted = jobs.iter().map(|job| (job.partition.id, job.start..job.end)).collect();
    let mut queues = HashMap::new();
    let mut uploads = JoinSet::new();
    for job in jobs {
        let (queue, batches) = mpsc::channel(QUEUE_MAX);
        let partition = job.partition.id;
        queues.insert(partition, queue);
        let node = Arc::clone(&node);
        uploads.spawn(async move { Outcome { partition, result: job.run(node, batches).await } });
    }
    let read = feed(&node, wanted, queues).await;
    let mut outcomes = Vec::new();
    while let Some(joined) = uploads.join_next().await {
        match joined {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    // What the reader ran into is the cause of whatever the uploads then missed.
    if let Err((partition, error)) = read
        && let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.partition == partition)
        && outcome.result.is_err()
    {
        outcome.result = Err(error);
    }
    outcomes
}

/// Reads the journal once and hands each partition its batches. A partition whose upload has ended is
/// passed over.
async fn feed(
    node: &Node,
    wanted: Vec<(TopicPartition, std::ops::Range<tidelog_model::Offset>)>,
    mut queues: HashMap<TopicPartition, mpsc::Sender<Bytes>>,
) -> Result<(), OffloadError> {
    let mut scan = node.journal.scan(wanted);
    while let Some(piece) = scan.next().await {
        let (partition, bytes) = piece?;
        if let Some(queue) = queues.get(&partition)
            && queue.send(bytes).await.is_err()
        {
            queues.remove(&partition);
        }
        if queues.is_empty() {
            break;
        }
    }
    Ok(())
}
