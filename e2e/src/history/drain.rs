//! The final drain: everything, from the log start to the end.

use futures::StreamExt;
use tidelog::{Client, Error, Offset, PartitionId, StartAt};
use tidelog_checker::{Isolation, Op, Outcome, Poll, Tier};

use super::consumer::{of_sdk, open, poll, records};
use super::{Recorder, Topic};

impl Recorder {
    /// Reads all of a topic that there is. `tier` says where it is known to come from.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn drain(&self, client: &Client, topic: &Topic, tier: Option<Tier>) {
        let mut identity = self.identity();
        for partition in 0..topic.partitions {
            let start = self.now();
            let mut drained = drain(client, topic, partition).await.expect("a final drain");
            drained.source.tier = tier;
            identity.did(start, Op::FinalDrain(drained), Outcome::Ok, None);
        }
    }
}

async fn drain(client: &Client, topic: &Topic, partition: u32) -> Result<Poll, Error> {
    let isolation = Isolation::ReadUncommitted;
    let partitions = [PartitionId(partition)];
    let starts =
        client.admin().list_offsets(&topic.name.0, &partitions, StartAt::Start, of_sdk(isolation)).await?;
    let from = starts.into_iter().next().transpose()?.map_or(Offset::ZERO, |found| found.offset);
    let mut all = poll(topic.log(partition), from, from, isolation);
    let mut consumer = open(client, topic, &[partition], isolation, true).await;
    let mut batches = std::pin::pin!(consumer.batches());
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        all.records.extend(records(&batch)?);
        all.next = batch.next_offset();
    }
    Ok(all)
}
