//! Somebody who keeps asking where a topic's partitions end, and begin.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tidelog::{Client, PartitionId, StartAt};
use tidelog_checker::{Isolation, ListOffsets, Op, Outcome};
use tokio::time::{MissedTickBehavior, interval};

use super::consumer::of_sdk;
use super::{Identity, Recorder, Running, Topic, is_stopped};

const ASK_EVERY: Duration = Duration::from_millis(20);

impl Recorder {
    /// Starts a client that asks for the latest offset of each partition in turn, and now and then for
    /// the earliest.
    pub fn ask(&self, client: Client, topic: &Topic) -> Running {
        let (identity, topic) = (self.identity(), topic.clone());
        Running::spawn(|stop| run(identity, client, topic, stop))
    }
}

async fn run(mut identity: Identity, client: Client, topic: Topic, stop: Arc<AtomicBool>) {
    let admin = client.admin();
    let mut pace = interval(ASK_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u32;
    while !is_stopped(&stop) {
        pace.tick().await;
        let (partition, latest) = (number % topic.partitions, !number.is_multiple_of(7));
        number += 1;
        let isolation = Isolation::ReadUncommitted;
        let at = if latest { StartAt::End } else { StartAt::Start };
        let start = identity.recorder.now();
        let answer =
            admin.list_offsets(&topic.name.0, &[PartitionId(partition)], at, of_sdk(isolation)).await;
        let answer = answer.and_then(|mut all| all.remove(0)).map(|found| found.offset);
        let (outcome, note) = match &answer {
            Ok(_) => (Outcome::Ok, None),
            Err(error) => (Outcome::Unknown, Some(error.to_string())),
        };
        let list = ListOffsets { log: topic.log(partition), latest, isolation, offset: answer.ok() };
        identity.did(start, Op::ListOffsets(list), outcome, note);
    }
}
