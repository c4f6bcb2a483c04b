//! Topics: read from the image, changed by the controller.

use std::time::Duration;

use tidelog_link::Remote;
use tidelog_meta::{Image, Topic, TypedMeta as _, election, keys};
use tidelog_model::{ErrorCode, PartitionId, TopicId, TopicPartition};
use tidelog_peer::{CreateTopic, StoreError, TopicInfo, TopicRef, Topics as _};
use tokio::time::{Instant, timeout_at};

use super::Core;
use super::attempts::{Backoff, is_elsewhere};
use super::peers::Peer;
use super::route::{self, Store};

impl Core {
    pub(super) fn topic(&self, topic: &TopicRef) -> Result<TopicInfo, StoreError> {
        let image = self.mirror.image();
        let found = find(&image, topic).map(|(id, record)| info(id, record));
        found.ok_or_else(|| {
            let message = match topic {
                TopicRef::Name(name) => format!("there is no topic named {name:?}"),
                TopicRef::Id(id) => format!("there is no topic with id {id}"),
            };
            StoreError::new(ErrorCode::UnknownTopicOrPartition, message)
        })
    }

    pub(super) fn topics(&self) -> Vec<TopicInfo> {
        let image = self.mirror.image();
        let ids = image.topics.keys();
        let mut topics: Vec<_> = ids.filter_map(|id| Some(info(*id, image.topic(*id)?))).collect();
        drop(image);
        topics.sort_unstable_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
        topics
    }

    /// Returns when every partition has a leader that this frontend knows.
    pub(super) async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        let time = Time::new(self.options.call_timeout);
        let name = request.name.clone();
        let what = format!("the creation of topic {name}");
        let create = async |remote: Remote| remote.create(request.clone()).await;
        let created = self.ask_controller(&what, &time, create).await?;
        // Those before it were led once: that is all that is promised.
        let mut next = 0;
        let led = self.once(|image| {
            image.topic(created.id)?;
            let is_led = |number: &u32| {
                route::route(image, TopicPartition::new(created.id, PartitionId(*number))).is_ok()
            };
            next = (next..created.partitions).find(|number| !is_led(number)).unwrap_or(created.partitions);
            (next == created.partitions).then_some(())
        });
        if timeout_at(time.deadline, led).await.is_err() {
            let message = format!(
                "topic {name} was created, but after {:?} its partition {next} has no leader yet",
                time.within
            );
            return Err(StoreError::new(ErrorCode::RequestTimedOut, message));
        }
        Ok(created)
    }

    pub(super) async fn alter(
        &self,
        topic: TopicRef,
        changes: Vec<(String, String)>,
    ) -> Result<TopicInfo, StoreError> {
        let time = Time::new(self.options.call_timeout);
        let what = format!("the change of {}", called(&topic));
        let alter = async |remote: Remote| remote.alter(topic.clone(), changes.clone()).await;
        let altered = self.ask_controller(&what, &time, alter).await?;
        // What is read now is the change or something later.
        let stored = self.meta.read(&keys::topic(altered.id)).await;
        let stored = stored.map_err(|error| unseen(&what, &error.to_string()))?;
        let Some(revision) = stored.map(|stored| stored.mod_revision) else { return Ok(altered) };
        let seen = |image: &Image| {
            image.topics.get(&altered.id).is_none_or(|held| held.revision >= revision).then_some(())
        };
        let seen = timeout_at(time.deadline, self.once(seen)).await;
        seen.map_err(|_| unseen(&what, "it was not seen in time"))?;
        Ok(altered)
    }

    pub(super) async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        let time = Time::new(self.options.call_timeout);
        let what = format!("the deletion of {}", called(&topic));
        // By its id, so that another one that gets its name is not waited for.
        let id = find(&self.mirror.image(), &topic).map(|(id, _)| TopicRef::Id(id));
        let topic = id.unwrap_or(topic);
        let delete = async |remote: Remote| remote.delete(topic.clone()).await;
        self.ask_controller(&what, &time, delete).await?;
        let gone = self.once(|image| find(image, &topic).is_none().then_some(()));
        timeout_at(time.deadline, gone).await.map_err(|_| unseen(&what, "it was not seen in time"))
    }

    /// Asks the controller, whoever that is meanwhile, for a change. One of unknown outcome is not asked
    /// for again.
    async fn ask_controller<T, F>(
        &self,
        what: &str,
        time: &Time,
        call: impl Fn(Remote) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut backoff = Backoff::default();
        loop {
            let asked = async {
                let peer = self.controller().await?;
                peer.call(call(peer.remote.clone())).await
            };
            let error = match timeout_at(time.deadline, asked).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.code == ErrorCode::NotController || is_elsewhere(error.code) => error,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let message = format!("{what}: the controller did not answer within {:?}", time.within);
                    return Err(StoreError::new(ErrorCode::RequestTimedOut, message));
                }
            };
            if Instant::now() >= time.deadline {
                let message = format!("{what}: not done within {:?}; last: {error}", time.within);
                return Err(StoreError::new(error.code, message));
            }
            self.changed(backoff.next()).await;
        }
    }

    /// The store whose controller was elected.
    async fn controller(&self) -> Result<Peer, StoreError> {
        let none = |message: String| StoreError::new(ErrorCode::NotController, message);
        let incumbent = election::controller(&*self.meta).await;
        let incumbent = incumbent
            .map_err(|error| none(format!("it cannot be found out which store is controller: {error}")))?
            .ok_or_else(|| none("no store is controller at the moment".to_owned()))?;
        let image = self.mirror.image();
        let live = image.live(incumbent.node).filter(|live| live.boot == incumbent.boot);
        let live = live.ok_or_else(|| {
            none(format!("node {}, which was elected controller, is not there", incumbent.node))
        })?;
        Ok(self.peers.of(&Store::from(live)))
    }
}

/// The time that a call has.
struct Time {
    within: Duration,
    deadline: Instant,
}

impl Time {
    fn new(within: Duration) -> Self {
        Self { within, deadline: Instant::now() + within }
    }
}

fn find<'a>(image: &'a Image, topic: &TopicRef) -> Option<(TopicId, &'a Topic)> {
    match topic {
        TopicRef::Id(id) => Some((*id, image.topic(*id)?)),
        TopicRef::Name(name) => {
            let mut living = image.topics.keys().filter_map(|id| Some((*id, image.topic(*id)?)));
            living.find(|(_, record)| record.name.as_str() == name)
        }
    }
}

fn info(id: TopicId, record: &Topic) -> TopicInfo {
    TopicInfo {
        id,
        name: record.name.clone(),
        partitions: record.partitions,
        config: record.config(),
        created: record.created,
    }
}

fn called(topic: &TopicRef) -> String {
    match topic {
        TopicRef::Name(name) => format!("topic {name}"),
        TopicRef::Id(id) => format!("the topic with id {id}"),
    }
}

/// It was done, and this frontend does not know it yet.
fn unseen(what: &str, why: &str) -> StoreError {
    StoreError::new(ErrorCode::RequestTimedOut, format!("{what} was done, but {why}"))
}
