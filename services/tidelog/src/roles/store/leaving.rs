//! Waiting, before a store ends, until others lead what it leads.

use std::time::Duration;

use tidelog_meta::{Image, Leader, Mirror, Partition};
use tidelog_model::NodeId;

/// What a store still leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leads {
    /// With an in-sync replica elsewhere that can take it over.
    movable: usize,
    /// With none: these have no leader until the store is back.
    stuck: usize,
}

/// Waits until this start of a store leads nothing that another could lead, at most `within`.
pub async fn until_leads_nothing(mirror: &Mirror, leader: Leader, within: Duration) {
    let mut versions = mirror.versions();
    let waiting = async {
        loop {
            versions.mark_unchanged();
            let leads = leads(&mirror.image(), leader);
            if leads.movable == 0 || versions.changed().await.is_err() {
                return leads;
            }
        }
    };
    match tokio::time::timeout(within, waiting).await {
        Ok(Leads { stuck: 0, .. }) => tracing::info!("this store leads nothing any more"),
        Ok(Leads { stuck, .. }) => {
            tracing::warn!(
                stuck,
                "partitions that nobody else can lead have no leader until this store is back"
            );
        }
        Err(_) => {
            let Leads { movable, stuck } = leads(&mirror.image(), leader);
            tracing::warn!(
                movable,
                stuck,
                "this store ends although it leads; others take over when it is gone"
            );
        }
    }
}

fn leads(image: &Image, leader: Leader) -> Leads {
    let mut leads = Leads::default();
    for held in image.partitions.values() {
        if held.value.leader == Some(leader) {
            let another_can =
                successors(&held.value, leader.node).any(|node| can_lead(image, &held.value, node));
            *(if another_can { &mut leads.movable } else { &mut leads.stuck }) += 1;
        }
    }
    leads
}

fn successors(partition: &Partition, but: NodeId) -> impl Iterator<Item = NodeId> {
    partition.isr.iter().map(|replica| replica.node).filter(move |node| *node != but)
}

/// Whether a store is there with the disk that is in sync, and does not leave itself.
fn can_lead(image: &Image, partition: &Partition, node: NodeId) -> bool {
    image.live(node).is_some_and(|live| {
        let in_sync =
            |replica: &tidelog_meta::Replica| (replica.node, replica.directory) == (node, live.directory);
        !live.draining && partition.isr.iter().any(in_sync)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidelog_meta::{Creation, Embedded, Live, Replica, Role, SharedMeta, Txn, keys};
    use tidelog_model::{DirectoryId, PartitionId, TopicId, TopicPartition};

    use super::*;

    /// Reached only by a test that fails.
    const DEADLINE: Duration = Duration::from_secs(20);

    fn leader(node: u32) -> Leader {
        Leader { node: NodeId(node), directory: DirectoryId::from_bytes([node as u8; 16]), boot: 1 }
    }

    fn live(node: u32, draining: bool) -> Live {
        Live {
            node: NodeId(node),
            directory: leader(node).directory,
            boot: 1,
            address: "a:1".to_owned(),
            rack: None,
            software: "tests".to_owned(),
            roles: vec![Role::Store],
            draining,
        }
    }

    fn led_by(node: u32, isr: &[u32]) -> Partition {
        let replica = |node: &u32| Replica { node: NodeId(*node), directory: leader(*node).directory };
        Partition {
            leader: Some(leader(node)),
            replicas: isr.iter().map(|node| NodeId(*node)).collect(),
            isr: isr.iter().map(replica).collect(),
            ..Partition::default()
        }
    }

    fn id(number: u32) -> TopicPartition {
        TopicPartition::new(TopicId::from_bytes([1; 16]), PartitionId(number))
    }

    #[tokio::test]
    async fn a_store_waits_for_what_others_can_lead_and_for_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let meta: SharedMeta = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
        let put = async |txn: Txn| meta.txn(txn).await.unwrap().committed().unwrap();
        let _ = put(Txn::new()
            .put(&keys::live(NodeId(1)), &live(1, true))
            .put(&keys::live(NodeId(2)), &live(2, false))
            .put(&keys::live(NodeId(3)), &live(3, true))
            // Another can; nobody else is in sync; who is in sync leaves too, or is not there.
            .put(&keys::partition(id(0)), &led_by(1, &[1, 2]))
            .put(&keys::partition(id(1)), &led_by(1, &[1]))
            .put(&keys::partition(id(2)), &led_by(1, &[1, 3, 4]))
            .put(&keys::partition(id(3)), &led_by(2, &[2, 1])))
        .await;
        let (mirror, following) = Mirror::open(Arc::clone(&meta), None).await.unwrap();
        tokio::spawn(following);
        assert_eq!(leads(&mirror.image(), leader(1)), Leads { movable: 1, stuck: 2 });
        // An earlier start of the same store led nothing.
        assert_eq!(leads(&mirror.image(), Leader { boot: 0, ..leader(1) }), Leads::default());

        let waiting = until_leads_nothing(&mirror, leader(1), DEADLINE * 2);
        let moving = put(Txn::new().put(&keys::partition(id(0)), &led_by(2, &[1, 2])));
        let both = async { tokio::join!(waiting, moving) };
        tokio::time::timeout(DEADLINE, both).await.expect("nothing is left that could move");
    }

    #[tokio::test]
    async fn a_store_does_not_wait_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let meta: SharedMeta = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
        let txn = Txn::new()
            .put(&keys::live(NodeId(2)), &live(2, false))
            .put(&keys::partition(id(0)), &led_by(1, &[1, 2]));
        meta.txn(txn).await.unwrap().committed().unwrap();
        let (mirror, _following) = Mirror::open(Arc::clone(&meta), None).await.unwrap();
        until_leads_nothing(&mirror, leader(1), Duration::from_millis(10)).await;
        assert_eq!(leads(&mirror.image(), leader(1)).movable, 1);
    }
}
