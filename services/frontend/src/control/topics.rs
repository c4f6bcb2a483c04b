//! Topics: create, delete, alter, describe, list.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidelog_model::limits::PARTITIONS_PER_TOPIC_MAX;
use tidelog_model::{ConfigError, ErrorCode, TopicConfig, TopicName};
use tidelog_peer::{CreateTopic, StoreError, TopicInfo, check_replication_factor};
use tidelog_proto::v1;

use super::admin;
use crate::edge::{Edge, id_bytes};
use crate::error;

/// Most topics in one answer.
const PAGE_MAX: usize = 1_000;

/// The replication factor where one process is all there is.
const ALONE: u32 = 1;

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
    let replication_factor = replicas(request.replication_factor, edge)?;
    if let Some(replicas) = replication_factor.or(edge.cluster.is_none().then_some(ALONE)) {
        config.check_replicas(replicas).map_err(|error| refused(vec![error]))?;
    }
    if request.validate_only {
        let topic = v1::Topic {
            id: Bytes::new(),
            name: name.to_string(),
            partitions,
            config: overrides(&config),
            created_ms: 0,
            replication_factor: replication_factor.unwrap_or(0),
        };
        return Ok(v1::CreateTopicResponse { topic: Some(topic) });
    }
    let config = request.config.into_iter().collect();
    let create = CreateTopic { name: request.name, partitions, replication_factor, config };
    let created = edge.topics.create(create).await.map_err(error::of_store)?;
    Ok(v1::CreateTopicResponse { topic: Some(topic(&created)) })
}

/// A replication factor that is asked for; 0 leaves it to the cluster.
fn replicas(asked: u32, edge: &Edge) -> Result<Option<u32>, v1::Error> {
    if asked == 0 {
        return Ok(None);
    }
    check_replication_factor(asked).map_err(error::of_store)?;
    if edge.cluster.is_none() && asked != ALONE {
        let message = format!(
            "this server is a single process with one store: a replication factor is {ALONE} here, not {asked}"
        );
        return Err(error::of(ErrorCode::InvalidReplicationFactor, message));
    }
    Ok(Some(asked))
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
    let kinds = [!request.config.is_empty(), request.partitions > 0, request.replication_factor > 0];
    if kinds.into_iter().filter(|asked| *asked).count() > 1 {
        let message = "a request changes settings, or partitions, or the replication factor: one of them";
        return Err(error::of(ErrorCode::InvalidRequest, message));
    }
    let before = edge.topic(request.topic.clone()).await?;
    let after = if request.partitions > 0 {
        add_partitions(before, &request, edge).await?
    } else if request.replication_factor > 0 {
        set_replication_factor(before, &request, edge).await?
    } else {
        alter_settings(before, request, edge).await?
    };
    Ok(v1::AlterTopicResponse { topic: Some(topic(&after)) })
}

async fn alter_settings(
    before: TopicInfo,
    request: v1::AlterTopicRequest,
    edge: &Edge,
) -> Result<TopicInfo, v1::Error> {
    let config = changed(&before.config, &request.config)?;
    config.check_replicas(before.replication_factor).map_err(|error| refused(vec![error]))?;
    if request.validate_only {
        return Ok(TopicInfo { config, ..before });
    }
    let changes = request.config.into_iter().collect();
    edge.topics.alter(before.id.into(), changes).await.map_err(error::of_store)
}

async fn add_partitions(
    before: TopicInfo,
    request: &v1::AlterTopicRequest,
    edge: &Edge,
) -> Result<TopicInfo, v1::Error> {
    let controller = admin::controller(edge)?;
    let (current, asked) = (before.partitions, request.partitions);
    if asked <= current || asked > PARTITIONS_PER_TOPIC_MAX {
        let message = format!(
            "topic {} has {current} partitions and can get more, up to {PARTITIONS_PER_TOPIC_MAX} altogether; \
             {asked} are asked for",
            before.name
        );
        return Err(error::of(ErrorCode::InvalidPartitions, message));
    }
    if !request.validate_only {
        controller.add_partitions(before.id, asked).await.map_err(error::of_store)?;
    }
    Ok(TopicInfo { partitions: asked, ..before })
}

async fn set_replication_factor(
    before: TopicInfo,
    request: &v1::AlterTopicRequest,
    edge: &Edge,
) -> Result<TopicInfo, v1::Error> {
    let replication_factor = request.replication_factor;
    replicas(replication_factor, edge)?;
    if let Err(problem) = before.config.check_replicas(replication_factor) {
        return Err(error::of(ErrorCode::InvalidReplicationFactor, problem.to_string()));
    }
    // Without a cluster there is one replica, as is asked for.
    if let Some(controller) = edge.cluster.as_deref()
        && !request.validate_only
    {
        controller.set_replication_factor(before.id, replication_factor).await.map_err(error::of_store)?;
    }
    Ok(TopicInfo { replication_factor, ..before })
}

pub(super) async fn describe(
    request: v1::DescribeTopicRequest,
    edge: &Edge,
) -> Result<v1::DescribeTopicResponse, v1::Error> {
    let info = edge.topic(request.topic).await?;
    let overridden = info.config.overrides();
    let config = info
        .config
        .entries(info.replication_factor)
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
        replication_factor: info.replication_factor,
    }
}

fn overrides(config: &TopicConfig) -> BTreeMap<String, String> {
    config.overrides().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The configuration with changes applied, or every problem with them at once.
fn changed(config: &TopicConfig, changes: &BTreeMap<String, String>) -> Result<TopicConfig, v1::Error> {
    config.with(changes).map_err(refused)
}

fn refused(problems: Vec<ConfigError>) -> v1::Error {
    let message = StoreError::of_settings(&problems).message;
    v1::Error {
        problems: problems.into_iter().map(problem).collect(),
        ..error::of(ErrorCode::InvalidConfig, message)
    }
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
