//! What an operator sees of etcd and of the cluster, from any of its processes.

use std::sync::{Arc, Weak};

use tidelog_meta::{Counts, Image, Meta, Mirror, SharedMeta};
use tidelog_runtime::Metrics;

/// Counts something of the image.
type Count = fn(&Image) -> usize;

/// Finds one of the counts.
type Pick = fn(Counts) -> u64;

/// How much the metadata store is used by this process.
pub fn observe_meta(metrics: &Metrics, meta: &SharedMeta) {
    let counters: [(&str, &str, Pick); 8] = [
        ("meta_reads", "Reads of the metadata store", |counts| counts.reads),
        ("meta_writes", "Changes that the metadata store wrote", |counts| counts.writes),
        ("meta_conflicts", "Transactions that came too late", |counts| counts.conflicts),
        ("meta_unknown", "Transactions whose answer was lost", |counts| counts.unknown),
        ("meta_keep_alives", "Leases kept alive", |counts| counts.keep_alives),
        ("meta_changes", "Changes that watches delivered", |counts| counts.changes),
        ("meta_resumed_watches", "Watches begun again after an interruption", |counts| {
            counts.resumed_watches
        }),
        ("meta_lost_connections", "Connections given up for another", |counts| counts.lost_connections),
    ];
    for (name, help, count) in counters {
        let meta: Weak<dyn Meta> = Arc::downgrade(meta);
        metrics.observe_counter(name, help, move || meta.upgrade().map_or(0, |meta| count(meta.counts())));
    }
}

/// The cluster as this process knows it.
pub fn observe_cluster(metrics: &Metrics, mirror: &Arc<Mirror>) {
    let gauges: [(&str, &str, Count); 5] = [
        ("cluster_stores", "Stores that hold their lease", |image| image.live_nodes().count()),
        ("cluster_partitions", "Partitions", |image| image.partitions.len()),
        ("cluster_leaderless_partitions", "Partitions whose leader has no lease", leaderless),
        ("cluster_under_replicated_partitions", "Partitions of which replicas are not in sync", |image| {
            let short = |held: &&tidelog_meta::Held<_>| is_under_replicated(&held.value);
            image.partitions.values().filter(short).count()
        }),
        ("cluster_unreadable_keys", "Keys whose values cannot be read", |image| image.unreadable.len()),
    ];
    for (name, help, count) in gauges {
        let mirror = Arc::downgrade(mirror);
        let read = move || mirror.upgrade().map_or(0, |mirror| count(&mirror.image()));
        metrics.observe(name, help, move || i64::try_from(read()).unwrap_or(i64::MAX));
    }
}

fn leaderless(image: &Image) -> usize {
    let works = |leader: tidelog_meta::Leader| {
        let live = image.live(leader.node);
        live.is_some_and(|live| (live.directory, live.boot) == (leader.directory, leader.boot))
    };
    image.partitions.values().filter(|held| !held.value.leader.is_some_and(works)).count()
}

fn is_under_replicated(partition: &tidelog_meta::Partition) -> bool {
    partition.isr.len() < partition.replicas.len()
}

#[cfg(test)]
mod tests {
    use tidelog_meta::{Creation, Embedded, Leader, Live, Partition, Role, Txn, keys};
    use tidelog_model::{DirectoryId, NodeId, PartitionId, TopicId, TopicPartition};

    use super::*;

    fn live(node: u32) -> Live {
        Live {
            node: NodeId(node),
            directory: DirectoryId::from_bytes([node as u8; 16]),
            boot: 1,
            address: "a:1".to_owned(),
            rack: None,
            software: "tests".to_owned(),
            roles: vec![Role::Store],
            draining: false,
        }
    }

    fn led_by(node: u32, boot: u64) -> Partition {
        let directory = DirectoryId::from_bytes([node as u8; 16]);
        let leader = Leader { node: NodeId(node), directory, boot };
        Partition {
            leader: Some(leader),
            replicas: vec![NodeId(1), NodeId(2)],
            isr: vec![leader.replica()],
            ..Partition::default()
        }
    }

    #[tokio::test]
    async fn the_image_and_the_use_of_the_metadata_store_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let meta: SharedMeta = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
        let id = |n| TopicPartition::new(TopicId::from_bytes([1; 16]), PartitionId(n));
        let txn = Txn::new()
            .put(&keys::live(NodeId(1)), &live(1))
            .put(&keys::partition(id(0)), &led_by(1, 1))
            .put(&keys::partition(id(1)), &led_by(1, 0))
            .put(&keys::partition(id(2)), &led_by(2, 1));
        meta.txn(txn).await.unwrap().committed().unwrap();
        let (mirror, _following) = Mirror::open(Arc::clone(&meta), None).await.unwrap();
        let metrics = Metrics::default();
        observe_meta(&metrics, &meta);
        observe_cluster(&metrics, &mirror);
        let text = metrics.encode().unwrap();
        for line in [
            "tidelog_meta_writes_total 1",
            "tidelog_cluster_stores 1",
            "tidelog_cluster_partitions 3",
            "tidelog_cluster_leaderless_partitions 2",
            "tidelog_cluster_under_replicated_partitions 3",
            "tidelog_cluster_unreadable_keys 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
