//! The calls on topics as a whole.

use std::collections::BTreeMap;

use tidelog_model::{TimestampMs, TopicConfig, TopicName};
use tidelog_peer::{CreateTopic, TopicInfo, TopicRef};
use tidelog_proto::v1;

use super::{BadMessage, Converted, needed, topic_id, topic_id_bytes};

pub(crate) fn ref_message(topic: TopicRef) -> v1::TopicRef {
    let by = match topic {
        TopicRef::Id(id) => v1::topic_ref::By::Id(topic_id_bytes(id)),
        TopicRef::Name(name) => v1::topic_ref::By::Name(name),
    };
    v1::TopicRef { by: Some(by) }
}

pub(crate) fn topic_ref(message: Option<v1::TopicRef>) -> Converted<TopicRef> {
    Ok(match needed(message.and_then(|topic| topic.by), "topic")? {
        v1::topic_ref::By::Id(id) => TopicRef::Id(topic_id(&id)?),
        v1::topic_ref::By::Name(name) => TopicRef::Name(name),
    })
}

pub(crate) fn create_call(request: CreateTopic) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest {
        name: request.name,
        partitions: request.partitions,
        replication_factor: request.replication_factor.unwrap_or(0),
        config: request.config.into_iter().collect(),
        ..v1::CreateTopicRequest::default()
    }
}

pub(crate) fn create(call: v1::CreateTopicRequest) -> CreateTopic {
    CreateTopic {
        name: call.name,
        partitions: call.partitions,
        replication_factor: Some(call.replication_factor).filter(|replicas| *replicas > 0),
        config: call.config.into_iter().collect(),
    }
}

pub(crate) fn alter_call(topic: TopicRef, changes: Vec<(String, String)>) -> v1::AlterTopicRequest {
    v1::AlterTopicRequest {
        topic: Some(ref_message(topic)),
        config: changes.into_iter().collect(),
        ..v1::AlterTopicRequest::default()
    }
}

pub(crate) fn record(topic: &TopicInfo) -> v1::TopicRecord {
    let overrides = topic.config.overrides().into_iter();
    v1::TopicRecord {
        topic_id: topic_id_bytes(topic.id),
        name: topic.name.as_str().to_owned(),
        partitions: topic.partitions,
        config: overrides.map(|(key, value)| (key.to_owned(), value)).collect(),
        created_ms: topic.created.0,
        replication_factor: topic.replication_factor,
    }
}

pub(crate) fn topic(record: &v1::TopicRecord) -> Converted<TopicInfo> {
    let config: &BTreeMap<String, String> = &record.config;
    Ok(TopicInfo {
        id: topic_id(&record.topic_id)?,
        name: TopicName::new(&record.name).map_err(|_| BadMessage("topic name"))?,
        partitions: record.partitions,
        replication_factor: record.replication_factor.max(1),
        config: TopicConfig::default().with(config).map_err(|_| BadMessage("topic configuration"))?,
        created: TimestampMs(record.created_ms),
    })
}
