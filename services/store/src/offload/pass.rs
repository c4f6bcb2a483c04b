//! One sequential reading of the journal that feeds the uploads of several partitions.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_journal::ReadError;
use tidelog_model::{Offset, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::OffloadError;
use super::job::Job;
use crate::node::Node;

/// Batches that wait for one partition's upload.
const QUEUE_MAX: usize = 8;

/// Places that cannot be read before a pass gives up.
const ERRORS_MAX: usize = 16;

/// What became of one partition.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) partition: TopicPartition,
    pub(crate) result: Result<(), OffloadError>,
}

/// Moves what `jobs` name. An error in one leaves the others alone.
pub(crate) async fn run(node: Arc<Node>, jobs: Vec<Job>) -> Vec<Outcome> {
    let wanted = jobs.iter().map(|job| (job.partition.id, job.span.clone())).collect();
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
    for error in read {
        blame(&error, &mut outcomes);
    }
    outcomes
}

/// What the reader ran into is the cause of what an upload then missed.
fn blame(error: &ReadError, outcomes: &mut [Outcome]) {
    let about = match error {
        ReadError::NotLocal { partition, .. }
        | ReadError::Corrupt { partition, .. }
        | ReadError::Quarantined { partition, .. } => Some(*partition),
        ReadError::Io { .. } | ReadError::Closed => None,
    };
    for outcome in outcomes {
        if matches!(outcome.result, Err(OffloadError::Cut(_)))
            && about.is_none_or(|partition| partition == outcome.partition)
        {
            outcome.result = Err(OffloadError::Journal(error.clone()));
        }
    }
}

/// Reads the journal once and hands each partition its batches. A partition whose upload has ended is
/// passed over. Returns what could not be read.
async fn feed(
    node: &Node,
    wanted: Vec<(TopicPartition, Range<Offset>)>,
    mut queues: HashMap<TopicPartition, mpsc::Sender<Bytes>>,
) -> Vec<ReadError> {
    let mut errors = Vec::new();
    let mut scan = node.journal.scan(wanted);
    while let Some(piece) = scan.next().await {
        match piece {
            Ok((partition, bytes)) => {
                let sent = match queues.get(&partition) {
                    Some(queue) => queue.send(bytes).await.is_ok(),
                    None => continue,
                };
                if !sent {
                    queues.remove(&partition);
                }
            }
            Err(error) if errors.len() < ERRORS_MAX => errors.push(error),
            Err(_) => break,
        }
        if queues.is_empty() {
            break;
        }
    }
    errors
}
