//! Lanes that leaders open here.

use std::sync::Arc;

use async_trait::async_trait;
use tidelog_model::NodeId;
use tidelog_replica::Instance;
use tidelog_wire::WireError;
use tracing::{debug, info};

use super::answers::Answers;
use super::{Mesh, Shared};
use crate::replication::{Followers, FromFollower, FromLeader, ReplicationLane, ToFollower};

#[async_trait]
impl Followers for Mesh {
    fn instance(&self) -> Instance {
        self.0.me
    }

    async fn follow(&self, lane: ReplicationLane) {
        let ReplicationLane { leader, from, to } = lane;
        let shared = &self.0;
        shared.counters.followed_lane();
        debug!(?leader, "a leader opened its lane");
        let answering = Answering::begin(shared, leader.node());
        let over = shared.tasks.token().child_token();
        let _over = over.clone().drop_guard();
        // A task of its own: acknowledgements leave while a batch waits for room in the journal.
        let (shared_by_task, answers, over_of_task) =
            (Arc::clone(shared), Arc::clone(&answering.answers), over.clone());
        shared.tasks.spawn("mesh-acknowledgements", async move {
            let sending = send(to, &answers, &shared_by_task);
            if let Some(error) = over_of_task.run_until_cancelled(sending).await {
                debug!(?leader, %error, "answers do not reach the leader any more");
                over_of_task.cancel();
            }
        });
        if let Some(Err(error)) = over.run_until_cancelled(receive(from, shared)).await {
            info!(?leader, %error, "a leader's lane ended");
        }
    }
}

/// A leader's lane takes answers for as long as this lives.
struct Answering<'a> {
    shared: &'a Shared,
    leader: NodeId,
    answers: Arc<Answers>,
}

impl<'a> Answering<'a> {
    fn begin(shared: &'a Shared, leader: NodeId) -> Self {
        Self { shared, leader, answers: shared.leaders.begin(leader) }
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.shared.leaders.end(self.leader, &self.answers);
    }
}

async fn receive(mut from: FromLeader, shared: &Shared) -> Result<(), WireError> {
    while let Some((messages, permit)) = from.recv().await? {
        let Some(replicas) = shared.replicas() else { break };
        shared.counters.received(messages.len(), permit.bytes());
        for message in messages {
            match message {
                ToFollower::Lead(partition, lead) => replicas.on_lead(partition, lead).await,
                ToFollower::Push(partition, pushed, batch) => {
                    replicas.on_pushed(partition, pushed, batch).await;
                }
            }
        }
        // All of it has its place now, and counts there.
        drop(permit);
    }
    Ok(())
}

async fn send(mut to: FromFollower, answers: &Answers, shared: &Shared) -> WireError {
    let mut frame = Vec::new();
    loop {
        answers.take(&mut frame);
        if frame.is_empty() {
            answers.wake.notified().await;
            continue;
        }
        if let Err(error) = to.send(&frame).await {
            return error;
        }
        shared.counters.sent_answers(frame.len());
        frame.clear();
    }
}
