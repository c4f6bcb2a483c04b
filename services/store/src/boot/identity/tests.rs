use std::path::Path;

use tidelog_meta::{Creation, Embedded};
use tidelog_model::{LeaderEpoch, PartitionId, TopicId, TopicPartition};

use super::*;

const NODE: NodeId = NodeId(1);

struct Fixture {
    meta: Embedded,
    dirs: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dirs = tempfile::tempdir().unwrap();
        let meta = Embedded::open(&dirs.path().join("meta"), Creation::IfMissing).unwrap();
        Self { meta, dirs }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dirs.path().join(name)
    }

    async fn start(&self, node: NodeId, name: &str) -> Result<Leader, IdentityError> {
        let mut directory = Directory::open(self.path(name)).unwrap();
        let gone = |_: Live| std::future::ready(true);
        let claim = claim_among_others(&self.meta, node, &mut directory, gone, Duration::ZERO);
        claim.await.map(|claim| claim.leader)
    }

    /// A partition whose in-sync set these are.
    async fn partition(&self, isr: Vec<Replica>) {
        let id = TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(0));
        let replicas = isr.iter().map(|replica| replica.node).collect();
        let partition = Partition { epoch: LeaderEpoch(3), replicas, isr, ..Partition::default() };
        let _ = self.meta.txn(Txn::new().put(&keys::partition(id), &partition)).await.unwrap();
    }
}

fn use_it(directory: &Path) {
    std::fs::create_dir(directory.join("journal")).unwrap();
    std::fs::write(directory.join("journal/00000000000000000001.wal"), b"x").unwrap();
}

#[tokio::test]
async fn an_empty_directory_is_another_replica_and_its_starts_count_on() {
    let fixture = Fixture::new();
    let first = fixture.start(NODE, "a").await.unwrap();
    use_it(&fixture.path("a"));
    let again = fixture.start(NODE, "a").await.unwrap();
    assert_eq!((again.directory, again.boot), (first.directory, 2));
    let other = fixture.start(NODE, "b").await.unwrap();
    assert!(other.directory != first.directory && other.boot == 3, "{other:?}");
    let refused = fixture.start(NODE, "a").await.unwrap_err();
    assert!(matches!(refused, IdentityError::OtherDirectory { .. }), "{refused}");
    let refused = fixture.start(NodeId(9), "a").await.unwrap_err();
    assert!(matches!(refused, IdentityError::Unknown { .. }), "{refused}");
}

#[tokio::test]
async fn a_directory_that_lost_its_journal_is_another_replica() {
    let fixture = Fixture::new();
    let first = fixture.start(NODE, "a").await.unwrap();
    use_it(&fixture.path("a"));
    std::fs::remove_dir_all(fixture.path("a").join("journal")).unwrap();
    let again = fixture.start(NODE, "a").await.unwrap();
    assert!(again.directory != first.directory && again.boot > first.boot, "{again:?}");
}

#[tokio::test]
async fn the_last_directory_that_has_everything_is_not_given_up() {
    let fixture = Fixture::new();
    let other = NodeId(2);
    let mut isr = Vec::new();
    for (node, name) in [(NODE, "a"), (other, "b")] {
        let start = fixture.start(node, name).await.unwrap();
        use_it(&fixture.path(name));
        isr.push(start.replica());
    }
    fixture.partition(isr).await;
    fixture.start(NODE, "a-empty").await.unwrap();
    let refused = fixture.start(other, "b-empty").await.unwrap_err();
    assert!(matches!(refused, IdentityError::LastInSync { .. }), "{refused}");
    fixture.start(other, "b").await.unwrap();
}

#[tokio::test]
async fn a_start_that_may_still_run_is_named() {
    let fixture = Fixture::new();
    let first = fixture.start(NODE, "a").await.unwrap();
    let live = Live {
        node: NODE,
        directory: first.directory,
        boot: first.boot,
        address: "store-1:9441".to_owned(),
        rack: None,
        software: String::new(),
        roles: Vec::new(),
        draining: false,
    };
    let _ = fixture.meta.txn(Txn::new().put(&keys::live(NODE), &live)).await.unwrap();
    let mut directory = Directory::open(fixture.path("b")).unwrap();
    let there = |_: Live| std::future::ready(false);
    let claimed = claim_among_others(&fixture.meta, NODE, &mut directory, there, Duration::ZERO).await;
    let refused = claimed.unwrap_err();
    assert!(
        matches!(&refused, IdentityError::Running { address, .. } if address == "store-1:9441"),
        "{refused}"
    );
}
