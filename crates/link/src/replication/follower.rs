//! The follower's end of a replication lane.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tidelog_model::TopicPartition;
use tidelog_proto::v1;
use tidelog_replica::Instance;
use tidelog_wire::{BytePermit, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError};

use super::leader::malformed;
use super::{ToFollower, ToLeader};
use crate::convert::{partition, partition_message, replication};
use crate::limits::MESSAGES_PER_FRAME;

/// A store, as the leaders see it that it follows.
#[async_trait]
pub trait Followers: Send + Sync {
    /// Which start of which store answers.
    fn instance(&self) -> Instance;

    /// Serves one leader's lane until it ends.
    async fn follow(&self, lane: ReplicationLane);
}

/// A lane that a leader opened.
#[derive(Debug)]
pub struct ReplicationLane {
    pub leader: Instance,
    pub from: FromLeader,
    pub to: FromFollower,
}

/// Receives what the leader says.
#[derive(Debug)]
pub struct FromLeader {
    recv: FrameReceiver,
    leader: Instance,
}

/// Sends the answers.
#[derive(Debug)]
pub struct FromFollower {
    send: FrameSender,
}

pub(crate) async fn serve(mut stream: Stream, first: &Frame, followers: &dyn Followers) {
    let opened = async {
        let open: v1::OpenReplication = first.decode(FrameKind::OpenReplication)?;
        let leader = replication::instance(open.from).map_err(malformed)?;
        let us = Some(replication::instance_message(followers.instance()));
        let opened = v1::ReplicationOpened { from: us };
        stream.send.send(FrameKind::ReplicationOpened, &opened, &[]).await?;
        Ok::<_, WireError>(leader)
    };
    match opened.await {
        Ok(leader) => {
            let Stream { send, recv } = stream;
            let (from, to) = (FromLeader { recv, leader }, FromFollower { send });
            followers.follow(ReplicationLane { leader, from, to }).await;
        }
        Err(error) => stream.give_up(&error).await,
    }
}

impl FromLeader {
    /// The next messages with what their batches take of the connection's budget; `None` when the
    /// leader has closed the lane.
    pub async fn recv(&mut self) -> Result<Option<(Vec<ToFollower>, BytePermit)>, WireError> {
        let Some(frame) = self.recv.recv().await? else { return Ok(None) };
        let message: v1::Replicate = frame.decode(FrameKind::Replicate)?;
        let Frame { payload, permit, .. } = frame;
        let messages = Unpacked { payload, leader: self.leader }.all(message.messages)?;
        Ok(Some((messages, permit)))
    }
}

/// A frame's payload, while it is handed out.
struct Unpacked {
    payload: BytesMut,
    leader: Instance,
}

impl Unpacked {
    fn all(mut self, messages: Vec<v1::ToFollower>) -> Result<Vec<ToFollower>, WireError> {
        let unpacked = messages
            .into_iter()
            .map(|message| {
                let partition = partition(message.partition).map_err(malformed)?;
                let body = message.body.ok_or_else(|| WireError::Malformed("an empty message".to_owned()))?;
                self.one(partition, body)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if self.payload.is_empty() {
            return Ok(unpacked);
        }
        Err(WireError::Malformed("more batches than were announced".to_owned()))
    }

    fn one(
        &mut self,
        partition: TopicPartition,
        body: v1::to_follower::Body,
    ) -> Result<ToFollower, WireError> {
        match body {
            v1::to_follower::Body::Lead(lead) => {
                let lead = replication::lead(lead, self.leader).map_err(malformed)?;
                Ok(ToFollower::Lead(partition, lead))
            }
            v1::to_follower::Body::Push(push) => {
                let (pushed, bytes) = replication::pushed(&push, self.leader).map_err(malformed)?;
                let batch = pushed.span.is_some().then(|| self.take(bytes as usize)).transpose()?;
                Ok(ToFollower::Push(partition, pushed, batch))
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Result<Bytes, WireError> {
        if bytes > self.payload.len() {
            return Err(WireError::Malformed("a batch is longer than what is left".to_owned()));
        }
        Ok(self.payload.split_to(bytes).freeze())
    }
}

impl FromFollower {
    /// Sends answers in their order. Cancelling it loses nothing: the next call goes on.
    pub async fn send(&mut self, answers: &[ToLeader]) -> Result<(), WireError> {
        for answers in answers.chunks(MESSAGES_PER_FRAME) {
            let messages = answers.iter().map(message).collect();
            self.send.push(FrameKind::Replicated, &v1::Replicated { messages }, &[]);
        }
        self.send.flush().await
    }
}

fn message(answer: &ToLeader) -> v1::ToLeader {
    let (partition, body) = match answer {
        ToLeader::Ack(partition, ack) => (partition, v1::to_leader::Body::Ack(replication::ack_message(ack))),
        ToLeader::Refusal(partition, refusal) => {
            (partition, v1::to_leader::Body::Refusal(replication::refusal_message(refusal)))
        }
    };
    v1::ToLeader { partition: Some(partition_message(*partition)), body: Some(body) }
}
