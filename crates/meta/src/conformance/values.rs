//! Claims on typed keys.

use tidelog_model::{LeaderEpoch, PartitionId, TopicId, TopicPartition};

use super::{Harness, commit, put};
use crate::{MetaError, Partition, Revision, Txn, TypedMeta as _, keys};

pub async fn typed_values_come_back_and_unreadable_ones_are_errors(harness: &dyn Harness) {
    let meta = harness.meta();
    let topic = TopicId::from_bytes(*b"a topic's 16 byt");
    let key = |n| keys::partition(TopicPartition::new(topic, PartitionId(n)));
    let at = |epoch| Partition { epoch: LeaderEpoch(epoch), ..Partition::default() };
    assert_eq!(meta.read(&key(0)).await.unwrap(), None);

    let create = Txn::new().when_unchanged(&key(0), Revision::NONE).put(&key(0), &at(1)).put(&key(1), &at(1));
    let revision = meta.txn(create.clone()).await.unwrap().committed().unwrap();
    assert_eq!(meta.txn(create).await.unwrap().committed(), None);
    let raise = Txn::new().when_unchanged(&key(0), revision).put(&key(0), &at(2));
    let raised = meta.txn(raise.clone()).await.unwrap().committed().unwrap();
    assert_eq!(meta.txn(raise).await.unwrap().committed(), None);
    let stored = meta.read(&key(0)).await.unwrap().unwrap();
    assert_eq!((stored.value, stored.create_revision, stored.mod_revision), (at(2), revision, raised));

    let all = meta.read_all(&keys::partitions_of(topic)).await.unwrap();
    assert_eq!(all.items.iter().map(|item| item.value.epoch.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(keys::parse_partition(&all.items[1].key), Some(TopicPartition::new(topic, PartitionId(1))));

    commit(&*meta, [put(key(1).as_str(), r#"{"version":9}"#)]).await;
    let error = meta.read_all(&keys::partitions_of(topic)).await.unwrap_err();
    assert!(matches!(&error, MetaError::Value(_)), "{error:?}");
    assert!(error.to_string().starts_with(key(1).as_str()), "{error}");
    assert!(meta.read(&key(1)).await.is_err());
    commit(&*meta, [super::delete(key(0).as_str()), super::delete(key(1).as_str())]).await;
}
