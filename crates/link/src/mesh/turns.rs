//! The sending end of one lane: takes turns through the partitions and makes a frame of what they have.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tidelog_model::TopicPartition;
use tidelog_replica::Pushed;
use tidelog_wire::WireError;

use super::Shared;
use super::link::Link;
use super::outgoing::{Range, Turn};
use crate::limits::{MESH_FRAME_BYTES, MESH_FRAME_MESSAGES, MESH_READS_MAX, MESH_TURN_BYTES};
use crate::replication::{LeaderSender, ToFollower};

/// Holds the frame that is sent, the next one, and the reads under way: two times `MESH_FRAME_BYTES` and
/// what `MESH_READS_MAX + 2` turns may read, at most.
pub(super) struct Turns<'a> {
    shared: &'a Arc<Shared>,
    link: &'a Link,
    /// Reads that have to wait for the disk: partitions with their batches in memory pass them.
    reads: FuturesUnordered<BoxFuture<'static, Read>>,
    frame: Vec<ToFollower>,
    frame_bytes: usize,
}

/// What a push's turn brought.
struct Read {
    partition: TopicPartition,
    asked: Range,
    batches: Vec<(Pushed, Bytes)>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, link: &'a Link) -> Self {
        Self { shared, link, reads: FuturesUnordered::new(), frame: Vec::new(), frame_bytes: 0 }
    }

    /// Sends what there is, as soon as it is there, until the lane is over.
    pub(super) async fn send_all(&mut self, send: &mut LeaderSender) -> WireError {
        loop {
            self.fill();
            if self.frame.is_empty() {
                let more = self.reads.len() < MESH_READS_MAX;
                tokio::select! {
                    Some(read) = self.reads.next(), if !self.reads.is_empty() => self.add(read),
                    () = self.link.wake.notified(), if more => {}
                }
            } else if let Err(error) = self.send(send).await {
                return error;
            }
        }
    }

    /// Takes turns until the frame is full or nothing is there without waiting.
    fn fill(&mut self) {
        while !self.is_full() {
            let Some(Some(read)) = self.reads.next().now_or_never() else { break };
            self.add(read);
        }
        while !self.is_full() && self.reads.len() < MESH_READS_MAX {
            let Some(Turn { partition, lead, beat, push }) = self.link.next() else { break };
            self.frame.extend(lead.map(|lead| ToFollower::Lead(partition, lead)));
            self.frame.extend(beat.map(|beat| ToFollower::Push(partition, beat, None)));
            let Some(range) = push else { continue };
            let mut reading = read(Arc::clone(self.shared), partition, range);
            match (&mut reading).now_or_never() {
                Some(read) => self.add(read),
                None => self.reads.push(reading),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.frame.len() >= MESH_FRAME_MESSAGES || self.frame_bytes >= MESH_FRAME_BYTES
    }

    fn add(&mut self, read: Read) {
        let Read { partition, asked, batches } = read;
        let ends = batches.iter().filter_map(|(pushed, _)| pushed.span.map(|span| span.next));
        // A turn that brought nothing further has nothing to bring: the range is done with.
        let next = ends.max().filter(|next| *next > asked.from).unwrap_or(asked.up_to);
        self.frame_bytes += batches.iter().map(|(_, batch)| batch.len()).sum::<usize>();
        let push = |(pushed, batch)| ToFollower::Push(partition, pushed, Some(batch));
        self.frame.extend(batches.into_iter().map(push));
        self.link.done(partition, next);
    }

    /// Sends the frame. The reads under way go on meanwhile: one that is not driven could keep from
    /// others what it waits for.
    async fn send(&mut self, send: &mut LeaderSender) -> Result<(), WireError> {
        let (messages, bytes) = (take(&mut self.frame), take(&mut self.frame_bytes));
        let count = messages.len();
        let mut sending = std::pin::pin!(send.send(messages));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => {
                    sent?;
                    self.shared.counters.sent(count, bytes);
                    return Ok(());
                }
                Some(read) = self.reads.next(), if !self.reads.is_empty() => self.add(read),
            }
        }
    }
}

fn read(shared: Arc<Shared>, partition: TopicPartition, asked: Range) -> BoxFuture<'static, Read> {
    Box::pin(async move {
        let Range { attempt, from, up_to } = asked;
        let batches = match shared.replicas() {
            Some(replicas) => replicas.batches(partition, attempt, from, up_to, MESH_TURN_BYTES).await,
            None => Vec::new(),
        };
        Read { partition, asked, batches }
    })
}
