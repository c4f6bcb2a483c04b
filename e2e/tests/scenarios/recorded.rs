//! Clients whose history is judged.

use tidelog::Client;
use tidelog_checker::Isolation;
use tidelog_e2e::Server;
use tidelog_e2e::history::{Following, Recorder, Running, Topic};

use crate::workload::connect;

const PRODUCERS: usize = 3;

/// Some of each kind, each with a connection of its own.
pub(crate) struct Clients {
    producers: Vec<Running>,
    followers: Vec<Following>,
    asker: Running,
}

impl Clients {
    pub(crate) async fn start(recorder: &Recorder, server: &Server, topic: &Topic) -> Self {
        Self::start_with(recorder, topic, async || connect(server).await).await
    }

    /// The same with clients that reach the server in another way.
    pub(crate) async fn start_with(
        recorder: &Recorder,
        topic: &Topic,
        connect: impl AsyncFn() -> Client,
    ) -> Self {
        let mut producers = Vec::new();
        for _ in 0..PRODUCERS {
            producers.push(recorder.produce(connect().await, topic));
        }
        // One reader of everything, and two that share it: they meet the seam at different times.
        let all: Vec<u32> = (0..topic.partitions).collect();
        let (first, second) = all.split_at(all.len() / 2);
        let mut followers = Vec::new();
        for (partitions, isolation) in [
            (&all[..], Isolation::ReadUncommitted),
            (first, Isolation::ReadCommitted),
            (second, Isolation::ReadCommitted),
        ] {
            if !partitions.is_empty() {
                followers.push(recorder.follow(connect().await, topic, partitions, isolation));
            }
        }
        Self { producers, followers, asker: recorder.ask(connect().await, topic) }
    }

    /// Producers first, so that the readers have an end to come to.
    pub(crate) async fn finish(self) {
        for producer in self.producers {
            producer.finish().await;
        }
        self.asker.finish().await;
        for follower in self.followers {
            follower.finish().await;
        }
    }
}
