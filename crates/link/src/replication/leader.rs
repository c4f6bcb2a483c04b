//! The leader's end of a replication lane.

use bytes::Bytes;
use tidelog_proto::v1;
use tidelog_replica::Instance;
use tidelog_wire::{FrameKind, FrameReceiver, FrameSender, Stream, WireError};

use super::{ToFollower, ToLeader};
use crate::convert::{partition, partition_message, replication};
use crate::limits::{BATCH_BYTES_PER_FRAME, EPOCHS_PER_FRAME, MESSAGES_PER_FRAME};

/// Sends to one follower.
#[derive(Debug)]
pub struct LeaderSender {
    send: FrameSender,
}

/// Receives that follower's answers.
#[derive(Debug)]
pub struct LeaderReceiver {
    recv: FrameReceiver,
    follower: Instance,
}

/// Opens the lane. What answers says which start of the follower it is.
pub(crate) async fn open(
    mut stream: Stream,
    from: Instance,
) -> Result<(LeaderSender, LeaderReceiver), WireError> {
    let open = v1::OpenReplication { from: Some(replication::instance_message(from)) };
    stream.send.send(FrameKind::OpenReplication, &open, &[]).await?;
    let opened = stream.recv.expect().await?;
    let opened: v1::ReplicationOpened = opened.decode(FrameKind::ReplicationOpened)?;
    let follower = replication::instance(opened.from).map_err(malformed)?;
    let Stream { send, recv } = stream;
    Ok((LeaderSender { send }, LeaderReceiver { recv, follower }))
}

impl LeaderSender {
    /// Sends messages in their order, in as few frames as the limits allow; returns when the transport
    /// has taken them. Cancelling it loses nothing: the next call goes on with what is left.
    pub async fn send(&mut self, messages: Vec<ToFollower>) -> Result<(), WireError> {
        let mut frame = Frame::default();
        for message in messages {
            if frame.has_no_room_for(&message) {
                std::mem::take(&mut frame).push(&mut self.send);
            }
            frame.add(message);
        }
        if !frame.messages.is_empty() {
            frame.push(&mut self.send);
        }
        self.send.flush().await
    }

    /// Bytes that a cancelled [`Self::send`] left.
    pub fn queued_bytes(&self) -> usize {
        self.send.queued_bytes()
    }
}

impl LeaderReceiver {
    /// Which start of which store answers.
    pub fn follower(&self) -> Instance {
        self.follower
    }

    /// The next answers; an error when the lane is over.
    pub async fn recv(&mut self) -> Result<Vec<ToLeader>, WireError> {
        let frame = self.recv.expect().await?;
        let answers: v1::Replicated = frame.decode(FrameKind::Replicated)?;
        answers.messages.into_iter().map(|message| answer(message, self.follower)).collect()
    }
}

fn answer(message: v1::ToLeader, from: Instance) -> Result<ToLeader, WireError> {
    let partition = partition(message.partition).map_err(malformed)?;
    match message.body {
        Some(v1::to_leader::Body::Ack(ack)) => Ok(ToLeader::Ack(partition, replication::ack(&ack, from))),
        Some(v1::to_leader::Body::Refusal(refusal)) => {
            let refusal = replication::refusal(refusal, from).map_err(malformed)?;
            Ok(ToLeader::Refusal(partition, refusal))
        }
        None => Err(WireError::Malformed("an answer without a body".to_owned())),
    }
}

pub(super) fn malformed(bad: crate::BadMessage) -> WireError {
    WireError::Malformed(bad.to_string())
}

/// A frame that is being filled.
#[derive(Default)]
struct Frame {
    messages: Vec<v1::ToFollower>,
    batches: Vec<Bytes>,
    batch_bytes: usize,
    /// Epochs in the histories of Leads: what makes a header large.
    epochs: usize,
}

impl Frame {
    /// Asked before a message is added: the largest batch fills a frame.
    fn has_no_room_for(&self, message: &ToFollower) -> bool {
        let (epochs, bytes) = match message {
            ToFollower::Lead(_, lead) => (lead.history.len(), 0),
            ToFollower::Push(_, _, batch) => (0, batch.as_ref().map_or(0, Bytes::len)),
        };
        !self.messages.is_empty()
            && (self.messages.len() >= MESSAGES_PER_FRAME
                || self.batch_bytes + bytes > BATCH_BYTES_PER_FRAME
                || self.epochs + epochs > EPOCHS_PER_FRAME)
    }

    fn add(&mut self, message: ToFollower) {
        let (partition, body) = match message {
            ToFollower::Lead(partition, lead) => {
                self.epochs += lead.history.len();
                (partition, v1::to_follower::Body::Lead(replication::lead_message(&lead)))
            }
            ToFollower::Push(partition, pushed, batch) => {
                debug_assert_eq!(batch.is_some(), pushed.span.is_some(), "a span comes with its batch");
                // A batch has at most 32 MiB.
                let bytes = batch.as_ref().map_or(0, |batch| batch.len() as u32);
                self.batch_bytes += bytes as usize;
                self.batches.extend(batch);
                (partition, v1::to_follower::Body::Push(replication::push_message(&pushed, bytes)))
            }
        };
        self.messages
            .push(v1::ToFollower { partition: Some(partition_message(partition)), body: Some(body) });
    }

    fn push(self, send: &mut FrameSender) {
        send.push(FrameKind::Replicate, &v1::Replicate { messages: self.messages }, &self.batches);
    }
}
