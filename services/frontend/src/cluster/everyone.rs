//! Calls that concern a whole topic, or any store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use futures::future::join_all;
use tidelog_link::Remote;
use tidelog_meta::Image;
use tidelog_model::{ErrorCode, NodeId, PartitionId, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tidelog_peer::{PartitionStore as _, StoreError};
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::attempts::{Backoff, is_not_led_here};
use super::peers::Peer;
use super::route::{self, NoRoute, Store};

/// Whom to ask about which partitions.
type Plan = BTreeMap<NodeId, (Store, BTreeSet<TopicPartition>)>;

impl Core {
    /// Asks every leader of a topic's partitions, until all partitions were led by one that did it.
    pub(super) async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        let mut open: BTreeSet<_> = self.partitions_of(topic)?;
        let mut backoff = Backoff::default();
        let mut deadline = Instant::now() + self.options.call_timeout;
        loop {
            let (plan, missing) = self.leaders_of(&open)?;
            let asked = self.ask_all(&plan, async |remote| remote.offload(topic).await).await;
            let mut failed = missing;
            let before = open.len();
            for (answer, (store, partitions)) in asked.into_iter().zip(plan.values()) {
                match answer {
                    // Those that moved meanwhile are asked about where they are now.
                    Ok(()) => {
                        let is_there =
                            |id: &TopicPartition| self.route(*id).is_ok_and(|route| route.store == *store);
                        open.retain(|id| !(partitions.contains(id) && is_there(id)));
                    }
                    // To do it twice does no harm.
                    Err(error) if is_not_led_here(error.code) || error.code == ErrorCode::RequestTimedOut => {
                        failed = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            if open.len() < before {
                deadline = Instant::now() + self.options.call_timeout;
            }
            if Instant::now() >= deadline {
                let why = failed.map_or_else(|| "leaders move".to_owned(), |error| error.message);
                let message = format!("{} partitions of the topic are not offloaded: {why}", open.len());
                return Err(StoreError::new(ErrorCode::LeaderNotAvailable, message));
            }
            self.changed(backoff.next()).await;
        }
    }

    /// Asks every store that is there and holds something of a topic.
    pub(super) async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        let mut done: Vec<Store> = Vec::new();
        let mut backoff = Backoff::default();
        let deadline = Instant::now() + self.options.call_timeout;
        loop {
            let mut plan = self.holders_of(&self.partitions_of(topic)?);
            plan.retain(|_, (store, _)| !done.contains(store));
            let asked = self.ask_all(&plan, async |remote| remote.evict(topic).await).await;
            let mut failed = None;
            for (answer, (store, _)) in asked.into_iter().zip(plan.values()) {
                match answer {
                    Ok(()) => done.push(store.clone()),
                    Err(error) if is_not_led_here(error.code) || error.code == ErrorCode::RequestTimedOut => {
                        failed = Some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            match failed {
                None if plan.is_empty() => return Ok(()),
                // Whether others hold it meanwhile.
                None => {}
                Some(error) if Instant::now() >= deadline => return Err(error),
                Some(_) => self.changed(backoff.next()).await,
            }
        }
    }

    /// Asks one store after the other, beginning with another one each time.
    pub(super) async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        let deadline = Instant::now() + self.options.call_timeout;
        let mut backoff = Backoff::default();
        loop {
            let stores: Vec<Peer> = {
                let image = self.mirror.image();
                image.live_nodes().map(|live| self.peers.of(&Store::from(live))).collect()
            };
            let first = self.turn.fetch_add(1, Ordering::Relaxed);
            let mut last =
                StoreError::new(ErrorCode::BrokerNotAvailable, "the cluster has no store that is up");
            for i in 0..stores.len() {
                let peer = &stores[first.wrapping_add(i) % stores.len()];
                match timeout_at(deadline, peer.call(peer.remote.init_producer())).await {
                    Ok(Ok(identity)) => return Ok(identity),
                    // An identity that is lost on its way is one among 2^63.
                    Ok(Err(error)) if error.is_retryable() => last = error,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => break,
                }
            }
            if Instant::now() >= deadline {
                let message = format!("no store gives out a producer id; last: {}", last.message);
                return Err(StoreError::new(last.code, message));
            }
            self.changed(backoff.next()).await;
        }
    }

    fn partitions_of(&self, topic: TopicId) -> Result<BTreeSet<TopicPartition>, StoreError> {
        let image = self.mirror.image();
        let Some(record) = image.topic(topic) else {
            let message = format!("there is no topic with id {topic}");
            return Err(StoreError::new(ErrorCode::UnknownTopicOrPartition, message));
        };
        Ok((0..record.partitions).map(|number| TopicPartition::new(topic, PartitionId(number))).collect())
    }

    /// The leaders, and why there is none for some.
    fn leaders_of(
        &self,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<(Plan, Option<StoreError>), StoreError> {
        let image = self.mirror.image();
        let (mut plan, mut missing) = (Plan::new(), None);
        for id in partitions {
            match route::route(&image, *id) {
                Ok(route) => add(&mut plan, route.store, *id),
                Err(none @ NoRoute::Unknown) => return Err(none.of(&image, *id)),
                Err(none) => missing = Some(none.of(&image, *id)),
            }
        }
        Ok((plan, missing))
    }

    /// What is not there holds nothing that could be dropped now.
    fn holders_of(&self, partitions: &BTreeSet<TopicPartition>) -> Plan {
        let image: &Image = &self.mirror.image();
        let mut plan = Plan::new();
        for id in partitions {
            let replicas = image.partition(*id).map_or(&[][..], |record| &record.replicas);
            for live in replicas.iter().filter_map(|node| image.live(*node)) {
                add(&mut plan, Store::from(live), *id);
            }
        }
        plan
    }

    /// All at once; the answers come in the plan's order.
    async fn ask_all<F>(&self, plan: &Plan, call: impl Fn(Remote) -> F) -> Vec<Result<(), StoreError>>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let peers: Vec<Peer> = {
            let image = self.mirror.image();
            let there =
                |store: &Store| image.live(store.node).is_some_and(|live| Store::from(live) == *store);
            plan.values().map(|(store, _)| there(store).then(|| self.peers.of(store))).collect::<Vec<_>>()
        }
        .into_iter()
        .flatten()
        .collect();
        let calls = plan.values().map(|(store, _)| {
            let peer = peers.iter().find(|peer| peer.store == *store);
            let call = &call;
            async move {
                match peer {
                    Some(peer) => peer.call(call(peer.remote.clone())).await,
                    None => Err(ErrorCode::BrokerNotAvailable.into()),
                }
            }
        });
        join_all(calls).await
    }
}

fn add(plan: &mut Plan, store: Store, id: TopicPartition) {
    plan.entry(store.node).or_insert_with(|| (store, BTreeSet::new())).1.insert(id);
}
