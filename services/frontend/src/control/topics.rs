//! Topics: create, delete, alter, describe, list.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidelog_model::limits::PARTITIONS_PER_TOPIC_MAX;
use tidelog_model::{ConfigError, ErrorCode, TopicConfig, TopicName};
use tidelog_peer::{CreateTopic, TopicInfo};
use tidelog_proto::v1;

use crate::edge::{Edge, id_bytes, topic_ref};
use crate::error;

/// Most topics in one answer.
const PAGE_MAX: usize = 1_000;

pub(super) async fn create(
    request: v1::CreateTopicRequest,
    edge: &Edge,
) -> Result<v1::CreateTopicResponse, v1::Error> {
    let name = TopicName::new(&request.name)
        .map_err(|problem| error::of(ErrorCode::InvalidTopic, problem.to_string()))?;
    let config = changed(&TopicConfig::default(), &request.config)?;
    let partitions = match request.partitions {
        0 => edge.options.default_partitions,
        stated => stated,
    };
    if partitions > PARTITIONS_PER_TOPIC_MAX {
        let message = format!("a topic has at most {PARTITIONS_PER_TOPIC_MAX} partitions, not {partitions}");
        return Err(error::of(ErrorCode::InvalidPartitions, message));
    }
    if request.validate_only {
        let topic = v1::Topic {
            id: Bytes::new(),
            name: name.to_string(),
            partitions,
            config: overrides(&config),
            created_ms: 0,
        };
        return Ok(v1::CreateTopicResponse { topic: Some(topic) });
    }
    let create = CreateTopic { name: request.name, partitions, config: request.config.into_iter().collect() };
    let created = edge.topics.create(create).await.map_err(error::of_store)?;
    Ok(v1::CreateTopicResponse { topic: Some(topic(&created)) })
}

pub(super) async fn delete(
    request: v1::DeleteTopicRequest,
    edge: &Edge,
) -> Result<v1::DeleteTopicResponse, v1::Error> {
    let topic = edge.topic(request.topic).await?;
    edge.topics.delete(topic.id.into()).await.map_err(error::of_store)?;
    Ok(v1::DeleteTopicResponse { id: id_bytes(topic.id) })
}

pub(super) async fn alter(
    request: v1::AlterTopicRequest,
    edge: &Edge,
) -> Result<v1::AlterTopicResponse, v1::Error> {
    let reference = topic_ref(request.topic)?;
    let mut before = edge.topics.get(reference).await.map_err(error::of_store)?;
    let config = changed(&before.config, &request.config)?;
    if request.validate_only {
        before.config = config;
        return Ok(v1::AlterTopicResponse { topic: Some(topic(&before)) });
    }
    let changes = request.config.into_iter().collect();
    let after = edge.topics.alter(before.id.into(), changes).await.map_err(error::of_store)?;
    Ok(v1::AlterTopicResponse { topic: Some(topic(&after)) })
}

pub(super) async fn describe(
    request: v1::DescribeTopicRequest,
    edge: &Edge,
) -> Result<v1::DescribeTopicResponse, v1::Error> {
    let info = edge.topic(request.topic).await?;
    let overridden = info.config.overrides();
    let config = info
        .config
        .entries()
        .into_iter()
        .map(|(name, value)| v1::describe_topic_response::ConfigEntry {
            name: name.to_owned(),
            value,
            is_default: !overridden.contains_key(name),
        })
        .collect();
    Ok(v1::DescribeTopicResponse { topic: Some(topic(&info)), config })
}

pub(super) async fn list(
    request: &v1::ListTopicsRequest,
    edge: &Edge,
) -> Result<v1::ListTopicsResponse, v1::Error> {
    let limit = match request.limit as usize {
        0 => PAGE_MAX,
        stated => stated.min(PAGE_MAX),
    };
    let all = edge.topics.list().await.map_err(error::of_store)?;
    let mut wanted = all.iter().filter(|topic| {
        let name = topic.name.as_str();
        name > request.after.as_str() && name.starts_with(&request.prefix)
    });
    let topics = wanted.by_ref().take(limit).map(topic).collect();
    Ok(v1::ListTopicsResponse { topics, more: wanted.next().is_some() })
}

fn topic(info: &TopicInfo) -> v1::Topic {
    v1::Topic {
        id: id_bytes(info.id),
        name: info.name.to_string(),
        partitions: info.partitions,
        config: overrides(&info.config),
        created_ms: info.created.0,
    }
}

fn overrides(config: &TopicConfig) -> BTreeMap<String, String> {
    config.overrides().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The configuration with changes applied, or every problem with them at once.
fn changed(config: &TopicConfig, changes: &BTreeMap<String, String>) -> Result<TopicConfig, v1::Error> {
    config.with(changes).map_err(|problems| {
        let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        v1::Error {
            problems: problems.into_iter().map(problem).collect(),
            ..error::of(ErrorCode::InvalidConfig, message)
        }
    })
}

fn problem(error: ConfigError) -> v1::Problem {
    match error {
        ConfigError::Unknown { key } => {
            v1::Problem { key, value: String::new(), reason: "no such topic setting".to_owned() }
        }
        ConfigError::Invalid { key, value, reason } => v1::Problem { key, value, reason },
        ConfigError::NotYet { key, value, reason } => {
            v1::Problem { key, value, reason: format!("this version does not act on it yet: {reason}") }
        }
    }
}
